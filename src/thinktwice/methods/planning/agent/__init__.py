"""Who writes labelled steps: a planner lays them out, a knowledge model states the facts. Law: nothing is made up.

    agent = Agent(Author(client, "gpt-4o"), Author(client, "gpt-4o"), task.score, Labelling(answer="hidden", samples=4))
    print(agent.label(task.splits["train"], Path("steps/StrategyQA_train_clean.json")))

`Client` (a server), `LocalWriter` (a model in this process) and `RuleWriter` (no model) write. The file loads as
StrategyQA's agent data does. Source: *Disentangling Memory and Reasoning Ability in Large Language Models* (Jin et al.
2025), whose public agent throws the knowledge model's facts away, cuts steps at their first line break, gives a step
without a label the one before, counts failed tries twice and stores empty solutions when it gives up.
"""

from thinktwice.methods.planning.agent.agreement import Agreement, agreement
from thinktwice.methods.planning.agent.job import Job
from thinktwice.methods.planning.agent.labelling import Agent, Labelling, directory
from thinktwice.methods.planning.agent.ledger import Attempt, Entry, Summary
from thinktwice.methods.planning.agent.rules import LabelWriter, RuleWriter, label_lines
from thinktwice.methods.planning.agent.writers import Author, LocalWriter, Writer

__all__ = [
    "Agent",
    "Agreement",
    "Attempt",
    "Author",
    "Entry",
    "Job",
    "LabelWriter",
    "Labelling",
    "LocalWriter",
    "RuleWriter",
    "Summary",
    "Writer",
    "agreement",
    "directory",
    "label_lines",
]
