from typer.testing import CliRunner

from thinktwice import cli

RUN = CliRunner()


def test_doctor_says_whether_a_verifier_can_be_trained_on_a_model():
    done = RUN.invoke(cli.build(), ["doctor", "nano", "--transplant"])
    lines = done.output.splitlines()
    assert done.exit_code == 0
    assert lines[0] == "✓ keys and values of 4 of 4 layers are moved, at its projections"
    assert any("by 0 (must be exactly 0)" in line for line in lines)
    assert all(line.startswith("✓ ") for line in lines)


def test_doctor_refuses_a_recurrent_model_with_one_sentence(tmp_path):
    import torch
    from transformers import AutoTokenizer, Qwen3NextConfig, Qwen3NextForCausalLM

    from thinktwice.nano import resolve

    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 4, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 2, "num_experts_per_tok": 1}
    Qwen3NextForCausalLM(Qwen3NextConfig(**sizes, **heads)).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(resolve("nano")).save_pretrained(tmp_path / "model")
    done = RUN.invoke(cli.build(), ["doctor", str(tmp_path / "model"), "--transplant"])
    assert done.exit_code == 1
    assert "✗ Qwen3NextForCausalLM has recurrent" in done.output


def test_doctor_needs_a_model_and_a_question():
    for words, said in ((["--transplant"], "MODEL --transplant"), (["nano"], "doctor nano --transplant")):
        done = RUN.invoke(cli.build(), ["doctor", *words])
        assert done.exit_code != 0
        assert said in str(done.exception)
