"""The data agent with writers that say what the test tells them."""

import json
from dataclasses import replace

import pytest

from thinktwice.engines.http import Failure, Reply
from thinktwice.engines.scripted import ScriptedEngine
from thinktwice.errors import ConfigError, DataError, EngineError, RunError
from thinktwice.methods.planning.agent import Agent, Author, Job, Labelling, LocalWriter, agreement, directory
from thinktwice.methods.planning.agent.prompts import data_of
from thinktwice.render import Render
from thinktwice.scoring import choice
from thinktwice.types import Problem

FACT = "The Battle of Iwo Jima was fought in 1945."
QUERY = "When was the Battle of Iwo Jima fought?"
GUESS = "Iwo Jima was, I believe, fought in 1944."
CONTENT = "World War II ended in 1945, so it belongs to that war."
PROBLEMS = [Problem(f"p{i}", f"Was battle {i} fought in World War II?", "True") for i in range(3)]


def rag(query=QUERY, **fields):
    return {"name": "recall", "requirement": "rag", "query": query, "content": GUESS, **fields}


def reason(content=CONTENT, **fields):
    return {"name": "conclude", "requirement": "reason", "query": "", "content": content, **fields}


def plan(*steps, answer="True"):
    return json.dumps({"steps": list(steps or (rag(), reason())), "answer": answer})


def facts(**others):
    return lambda data: json.dumps(dict.fromkeys(data["queries"], FACT) | others)


class Told:
    """Answers each request from a list (a text, a Failure, a whole Reply, or a function of the request's data)."""

    def __init__(self, *replies, otherwise=None):
        self.replies, self.otherwise, self.requests = list(replies), otherwise, []

    def chat(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        self.requests.append(request)
        said = self.replies.pop(0) if self.replies else self.otherwise
        said = said(data_of(request.prompt)) if callable(said) else said
        return Reply(said, "stop") if isinstance(said, str) else said

    @property
    def texts(self):
        return [request.prompt for request in self.requests]


def score(problem, reply):
    return choice.score(reply, problem.answer, choice.TRUE_FALSE)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "steps.json"


@pytest.fixture
def label(out):
    """Label with told writers: (summary, rows, planner, knowledge)."""

    def run(planner=None, knowledge=None, problems=PROBLEMS[:1], second=None, **settings):
        planner = planner or Told(otherwise=plan())
        knowledge = knowledge or Told(otherwise=facts())
        agent = Agent(Author(planner, "P"), Author(knowledge, "K"), score, Labelling(**settings), second)
        found = agent.label(problems, out)
        return found, json.loads(out.read_text(encoding="utf-8")), planner, knowledge

    return run


def ledger(out):
    return [json.loads(line) for line in (directory(out) / "ledger.jsonl").read_text().splitlines()]


def test_the_knowledge_models_fact_is_the_memory_step(label):
    # The public agent wrote the fact into a field that it then left out; what the planner guessed was stored.
    found, rows, _, knowledge = label()
    assert rows[0]["question"] == PROBLEMS[0].prompt
    assert rows[0]["answer"] == "True"
    assert rows[0]["cot_steps"] == [f"[rag]: {FACT}", f"[reason]: {CONTENT}"]
    assert data_of(knowledge.texts[0]) == {"queries": [QUERY]}
    assert PROBLEMS[0].prompt not in knowledge.texts[0]
    assert (found.kept, found.dropped, found.steps) == (1, {}, {"rag": 1, "reason": 1})


def test_a_step_is_whole_and_one_line(label):
    # The public agent's regular expression ended a step at its first line break.
    content = "First line,\nsecond line;\r\n\tthird\u2028line\x00."
    knowledge = Told(json.dumps({QUERY: "A fact\non two lines."}))
    _, rows, *_ = label(Told(plan(rag(), reason(content))), knowledge)
    assert rows[0]["cot_steps"] == ["[rag]: A fact on two lines.", "[reason]: First line, second line; third line."]


def test_a_step_without_requirement_is_refused_not_given_the_label_before(label, out):
    nameless = {"name": "x", "query": "", "content": "And so it was."}
    found, rows, planner, _ = label(Told(plan(rag(), nameless, reason()), plan()))
    assert found.unused == {"a step without requirement": 1}
    assert len(planner.requests) == 2
    assert rows[0]["cot_steps"] == [f"[rag]: {FACT}", f"[reason]: {CONTENT}"]
    assert ledger(out)[0]["attempts"][0]["detail"] == "step 2"


def test_every_try_is_counted_once_and_a_failed_problem_has_a_reason_and_no_row(label, out):
    # The public agent counted a failure twice, stepped over its limit, and stored `cot_steps: []`.
    planner = Told("", "no json", plan(rag()), *[plan(reason())] * 10)
    found, rows, planner, knowledge = label(planner, attempts=4)
    assert len(planner.requests) == 4
    assert not knowledge.requests
    assert [request.sample for request in planner.requests] == [0, 1, 2, 3]
    (entry,) = ledger(out)
    assert [a["outcome"] for a in entry["attempts"]] == [
        "an empty reply", "not one JSON object", "no reason step", "no rag step",
    ]  # fmt: skip
    assert (entry["state"], entry["reason"], entry["cot_steps"]) == ("dropped", "no rag step", [])
    assert rows == []
    assert (found.problems, found.kept, found.dropped, found.attempts) == (1, 0, {"no rag step": 1}, 4)


@pytest.mark.parametrize("wrong", [1, 2, 3, 4])
def test_the_limit_holds_wherever_the_failures_stand(label, wrong):
    found, rows, planner, _ = label(Told(*["nonsense"] * wrong, plan()), attempts=4)
    assert len(planner.requests) == min(wrong + 1, 4)
    assert (found.kept == 1) == (wrong < 4) == bool(rows)


def test_memory_first_is_asked_for_and_checked(label):
    # The public version for this order only asked for it; what came was stored.
    mixed = plan(rag(), reason(), rag("Who won?"), reason("So they won."))
    sorted_ = plan(rag(), rag("Who won?"), reason())
    knowledge = Told(lambda data: json.dumps({query: f"Fact on {query}" for query in data["queries"]}))
    found, rows, planner, _ = label(Told(mixed, sorted_), knowledge, order="memory_first")
    assert found.unused == {"a rag step after the first reason step": 1}
    assert [step.split(":")[0] for step in rows[0]["cot_steps"]] == ["[rag]", "[rag]", "[reason]"]
    assert "All rag steps come first" in planner.texts[0]


def test_interleaved_takes_facts_anywhere(label):
    mixed = plan(rag(), reason(), rag("Who won?"), reason("So they won."))
    knowledge = Told(lambda data: json.dumps({query: f"Fact on {query}" for query in data["queries"]}))
    _, rows, planner, _ = label(Told(mixed), knowledge)
    assert len(rows[0]["cot_steps"]) == 4
    assert "All rag steps come first" not in planner.texts[0]


@pytest.mark.parametrize(
    ("said", "reason_why"),
    [
        (plan() + " I hope this helps.", "not one JSON object"),
        (f"[{plan()}]", "not one JSON object"),
        ('{"steps": [], "answer": "True"}', "no steps"),
        ('{"steps": [], "steps": [], "answer": "True"}', "not one JSON object"),
        ('{"steps": NaN, "answer": "True"}', "not one JSON object"),
        ('{"steps": ' * 5000, "not one JSON object"),
        (json.dumps({"steps": [rag(), reason()]}), "a text is missing"),
        (json.dumps({"steps": [rag(), reason()], "answer": True}), "a text is missing"),
        (json.dumps({"steps": [rag(), reason()], "answer": "True", "notes": "x"}), "a field that was not asked for"),
        (plan(rag(), reason(confidence=1)), "a field that was not asked for"),
        (plan("rag", reason()), "a step is no object"),
        (plan(rag(requirement="[rag]"), reason()), "a label outside the set"),
        (plan(rag(requirement="rag and reason"), reason()), "a label outside the set"),
        (plan(rag(requirement=["rag"]), reason()), "a label outside the set"),
        (plan(rag(" \n"), reason()), "an empty text"),
        (plan(rag(), reason("")), "an empty text"),
        (plan(rag(query=None), reason()), "a text is missing"),
        (plan(rag(), reason(query="And what else?")), "a reason step with a query"),
        (plan(rag(), reason("[rag]: Told as if it were a fact.")), "a text that begins with a label"),
        (plan(rag(), rag(), reason()), "a query stands twice"),
        (plan(answer="False"), "another answer than the one shown"),
        (Reply(plan(), "length"), "cut by the token budget"),
    ],
)
def test_a_plan_is_read_strictly(label, said, reason_why):
    found, rows, *_ = label(Told(said), attempts=1)
    assert (found.dropped, rows) == ({reason_why: 1}, [])


@pytest.mark.parametrize(
    "said",
    [f"```json\n{plan()}\n```", f"```\n{plan()}\n```", f"<think>\n{{}} hm\n</think>\n\n{plan()}", f"\n {plan()}\n"],
)
def test_a_fence_or_a_thought_around_the_object_is_no_fault(label, said):
    assert label(Told(said), attempts=1)[0].kept == 1


@pytest.mark.parametrize(
    ("said", "reason_why"),
    [
        ("{}", "a query without a fact"),
        (json.dumps({QUERY: FACT, "Something else?": "Yes."}), "a field that was not asked for"),
        (json.dumps({QUERY: ""}), "an empty text"),
        (json.dumps({QUERY: 1945}), "a text is missing"),
        (json.dumps({QUERY: CONTENT}), "a step stands twice"),
        (json.dumps([FACT]), "not one JSON object"),
        ("I do not know.", "not one JSON object"),
    ],
)
def test_facts_are_read_strictly_and_a_good_plan_is_not_paid_for_again(label, said, reason_why):
    found, rows, planner, knowledge = label(knowledge=Told(said, facts()))
    assert found.unused == {reason_why: 1}
    assert (len(planner.requests), len(knowledge.requests)) == (1, 2)
    assert [request.sample for request in knowledge.requests] == [0, 1]
    assert rows[0]["cot_steps"][0] == f"[rag]: {FACT}"


def test_where_a_fact_is_not_known_another_plan_is_asked_for(label):
    other = plan(rag("In which year was it fought?"), reason())
    found, rows, planner, knowledge = label(Told(plan(), other), Told(json.dumps({QUERY: None}), facts()))
    assert found.unused == {"a fact that the knowledge model does not know": 1}
    assert (len(planner.requests), len(rows)) == (2, 1)
    assert data_of(knowledge.texts[1])["queries"] == ["In which year was it fought?"]


def test_a_hidden_answer_is_in_no_request_and_only_right_plans_are_kept(label, out):
    secret = Problem("p", "Which?", "Zanzibar")
    planner = Told(plan(answer="A"), plan(answer="A"), plan(answer="Zanzibar"), otherwise=plan(answer="A"))
    knowledge = Told(otherwise=facts())
    agent = Agent(
        Author(planner, "P"), Author(knowledge, "K"),
        lambda p, reply: choice.score(reply, p.answer, ("A", p.answer)), Labelling(answer="hidden", samples=3),
    )  # fmt: skip
    found = agent.label([secret, replace(secret, id="q", prompt="Which else?")], out)
    assert not any("Zanzibar" in text for text in planner.texts + knowledge.texts)
    # Problem p: wrong (round 1), Zanzibar (round 2); problem q: wrong three times.
    assert (found.plans, found.right, found.kept, found.dropped) == (5, 1, 1, {"wrong answer": 1})
    assert found.unused == {"wrong answer": 4}
    assert len(knowledge.requests) == 1


def test_wrong_answers_stop_at_the_samples_and_are_no_failures(label):
    problems = [Problem(f"p{i}", f"Question {i}?", "True") for i in range(60)]
    found, rows, planner, _ = label(Told(otherwise=plan(answer="False")), problems=problems, answer="hidden", samples=2)
    assert (len(planner.requests), rows) == (120, [])
    assert found.dropped == {"wrong answer": 60}


def test_a_shown_answer_is_shown(label):
    _, _, planner, _ = label()
    assert data_of(planner.texts[0]) == {"question": PROBLEMS[0].prompt, "answer": "True"}
    with pytest.raises(ConfigError, match="answer=hidden"):
        Labelling(samples=2)


def test_counts_add_up(label, out):
    problems = [Problem(f"p{i}", f"Question {i}?", "True") for i in range(12)]
    outcomes = [plan(), "x", plan(answer="False"), Failure("refused", "HTTP 400: too long")]
    planner = Told(otherwise=lambda data: outcomes[int(data["question"].split()[1][:-1]) % 4])
    found, rows, *_ = label(planner, problems=problems, answer="hidden", attempts=2, batch_size=5)
    assert found.problems == 12 == found.kept + sum(found.dropped.values()) + sum(found.open.values())
    assert found.kept == len(rows) == 3
    assert found.dropped == {"not one JSON object": 3, "wrong answer": 3}
    assert found.open == {"refused: HTTP 400: too long": 3}
    saved = json.loads((directory(out) / "summary.json").read_text())
    assert saved["dropped"] == found.dropped
    assert "12 problems = 3 kept + 6 dropped + 3 open" in str(found)


def test_what_the_server_failed_on_stays_open_and_is_asked_again(label, out):
    found, *_ = label(Told(Failure("deadline", "HTTP 503")))
    assert (found.open, ledger(out)) == ({"deadline: HTTP 503": 1}, [])
    found, rows, planner, _ = label()
    assert (found.kept, found.open, len(planner.requests), len(rows)) == (1, {}, 1, 1)


def test_a_bad_reply_of_the_server_is_one_attempt(label, out):
    found, *_ = label(Told(Failure("bad reply", "no choices"), plan()), attempts=2)
    assert (found.kept, found.unused) == (1, {"no reply": 1})


def test_what_is_settled_is_not_asked_about_again(label, out):
    label(Told(plan(), "x", otherwise=plan()), problems=PROBLEMS, attempts=1)
    before = out.read_bytes(), (directory(out) / "ledger.jsonl").read_bytes()
    found, _, planner, knowledge = label(problems=PROBLEMS, attempts=1)
    assert planner.requests == knowledge.requests == []
    assert (found.kept, found.dropped) == (2, {"not one JSON object": 1})
    assert (out.read_bytes(), (directory(out) / "ledger.jsonl").read_bytes()) == before


def test_other_settings_or_another_problem_are_asked_about(label, out):
    label()
    assert len(label(order="memory_first")[2].requests) == 1
    assert len(label(problems=[replace(PROBLEMS[0], prompt="The same id, another question?")])[2].requests) == 1
    assert len(label(max_failures=0.5, batch_size=1)[2].requests) == 0
    assert len(ledger(out)) == 3
    assert len(label()[1]) == 1


def test_more_problems_go_on_where_fewer_ended(label):
    label(problems=PROBLEMS[:1])
    found, rows, planner, _ = label(problems=PROBLEMS)
    assert (len(planner.requests), found.kept) == (2, 3)
    assert [row["question"] for row in rows] == [p.prompt for p in PROBLEMS]


def test_a_torn_ledger_line_is_asked_about_again(label, out):
    label(problems=PROBLEMS)
    path = directory(out) / "ledger.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    _, rows, planner, _ = label(problems=PROBLEMS)
    assert (len(planner.requests), len(rows)) == (1, 3)
    assert path.read_bytes() == whole


def test_too_many_failures_stop_the_run_and_keep_what_was_settled(label, out):
    problems = [Problem(f"p{i}", f"Question {i}?", "True") for i in range(100)]
    good = iter([True] * 20 + [False] * 1000)
    planner = Told(otherwise=lambda data: plan() if next(good) else "sorry")
    with pytest.raises(EngineError, match=r"30 of 50 problems were lost.*not one JSON object"):
        label(planner, problems=problems, attempts=1, batch_size=10)
    assert (len(ledger(out)), out.exists()) == (50, False)
    with pytest.raises(EngineError, match="lost"):  # and it does not pass by being asked once more
        label(Told(), problems=problems[:50], attempts=1, batch_size=10)
    assert len(label(Told(), problems=problems[:50], attempts=1, max_failures=1.0)[1]) == 20


def test_one_problem_once_one_process_at_a_time(label, out, monkeypatch):
    with pytest.raises(DataError, match="p0 stands twice"):
        label(problems=[PROBLEMS[0], PROBLEMS[0]])

    def while_it_runs(data):
        with pytest.raises(RunError, match="in use"):
            label(problems=PROBLEMS[1:2])
        return plan()

    assert label(Told(while_it_runs))[0].kept == 1


def test_rows_say_where_they_come_from(label):
    provenance = label(order="memory_first")[1][0]["provenance"]
    assert (provenance["planner"], provenance["knowledge"], provenance["id"]) == ("P", "K", "p0")
    assert (provenance["order"], provenance["answer"], provenance["attempts"]) == ("memory_first", "shown", 2)
    assert len(provenance["prompts"]) == len(provenance["settings"]) == 16
    assert len(provenance["date"].split("-")) == 3


def test_json_lines_where_the_name_says_so(tmp_path):
    out = tmp_path / "steps.jsonl"
    agent = Agent(Author(Told(otherwise=plan()), "P"), Author(Told(otherwise=facts()), "K"), score)
    agent.label(PROBLEMS, out)
    assert [json.loads(line)["question"] for line in out.read_text().splitlines()] == [p.prompt for p in PROBLEMS]


@pytest.mark.parametrize("name", ["StrategyQA_train_clean.json", "steps.jsonl"])
def test_the_task_loads_what_is_written(tmp_path, name):
    from thinktwice.tasks import load_task

    agent = Agent(Author(Told(otherwise=plan()), "P"), Author(Told(otherwise=facts()), "K"), score)
    agent.label(PROBLEMS, tmp_path / name)
    task = load_task("strategyqa_agent", path=str(tmp_path / name))
    loaded = {p.prompt: p for p in task.splits["test"]}
    assert loaded.keys() == {p.prompt for p in PROBLEMS}
    one = loaded[PROBLEMS[0].prompt]
    assert (one.solution, one.labels) == (f"{FACT}\n{CONTENT}\nThe answer is: True", ("memory", "reason"))


def test_a_second_labeller_sees_no_labels_and_its_agreement_is_stored(label, out):
    second = Told("no", '{"labels": ["rag"]}', '{"labels": ["rag", "reason"]}', '{"labels": ["rag", "rag"]}')
    found, rows, *_ = label(problems=PROBLEMS[:2], second=Author(second, "S"), attempts=2)
    assert data_of(second.texts[0]) == {"question": PROBLEMS[0].prompt, "steps": [FACT, CONTENT]}
    assert found.agreement == agreement(["rag", "reason"] * 2, ["rag", "reason", "rag", "rag"])
    assert [row["provenance"]["second_labels"] for row in rows] == [["rag", "reason"], ["rag", "rag"]]
    saved = json.loads((directory(out) / "summary.json").read_text())
    assert (saved["agreement"]["kappa"], saved["second"], saved["unlabelled"]) == (0.5, "S", 0)


def test_a_second_labeller_is_asked_about_kept_steps_only(label):
    second = Told(otherwise='{"labels": ["rag", "reason"]}')
    found, *_ = label(Told("x", plan()), problems=PROBLEMS[:2], second=Author(second, "S"), attempts=1)
    assert (found.kept, found.unlabelled, len(second.requests)) == (1, 0, 1)


def test_a_second_labeller_who_gives_nothing_usable_is_counted(label):
    found, rows, *_ = label(second=Author(Told(otherwise="no"), "S"), attempts=2)
    assert (found.agreement, found.unlabelled, found.kept) == (None, 1, 1)
    assert "second_labels" not in rows[0]["provenance"]


def test_agreement_is_cohens():
    # Cohen's own kind of table: 20 both yes, 15 both no, 5 and 10 apart; expected .5, observed .7.
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = agreement(a, b)
    assert (found.accuracy, found.kappa) == (0.7, pytest.approx(0.4))
    assert found.confusion == {"no": {"no": 15, "yes": 10}, "yes": {"no": 5, "yes": 20}}
    assert agreement(["a", "b"], ["b", "a"]).kappa == -1.0
    assert agreement(["a", "a"], ["a", "a"]).kappa is None
    with pytest.raises(DataError, match="got 2 and 1"):
        agreement(["a", "b"], ["a"])
    with pytest.raises(DataError, match="got 0"):
        agreement([], [])


class Letters:
    """A tokenizer of single characters; id 0 ends."""

    eos_token_id, chat_template, unk_token_id, all_special_ids, added_tokens_decoder = 0, None, None, [0], {}

    def __call__(self, text, **_):
        return {"input_ids": [ord(c) for c in text]}

    def decode(self, ids, **_):
        return "".join(map(chr, ids))


def test_a_local_model_writes_as_a_server_does(out):
    def script(prompt):
        text = "".join(map(chr, prompt)).rstrip("\n")
        data = data_of(text)
        return [*map(ord, facts()(data) if "queries" in data else plan()), 0]

    engine = ScriptedEngine(script, eos_ids=[0])
    author = Author(LocalWriter(engine, Render(Letters())), engine.name)
    assert Agent(author, author, score).label(PROBLEMS, out).kept == 3
    short = replace(author, sampling=replace(author.sampling, max_new_tokens=5))
    found = Agent(short, short, score, Labelling(attempts=1)).label(PROBLEMS, out)
    assert found.dropped == {"cut by the token budget": 3}
    silent = LocalWriter(ScriptedEngine([]), Render(Letters()))
    (failure,) = silent.chat([author.ask("Hi", 0)])
    assert isinstance(failure, Failure)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "nobody is there to label"),
        ({"offline": True, "local": "nano"}, "local and offline would both plan"),
    ],
)
def test_a_job_names_one_planner(settings, says):
    with pytest.raises(ConfigError, match=says):
        Job(**settings)
