# SPDX-License-Identifier: Apache-2.0
import pytest

import tessera

torch = pytest.importorskip("torch", reason="TORCH IS NOT INSTALLED: models of transformers are not tested")
transformers = pytest.importorskip("transformers", reason="TRANSFORMERS IS NOT INSTALLED: its models are not tested")
import tessera.transformers  # noqa: E402


@pytest.mark.parametrize("options", [{}, {"dtype": "auto"}], ids=["float32", "auto"])
@pytest.mark.parametrize("auto", [True, False], ids=["AutoModel", "class"])
def test_a_compressed_folder_answers_as_its_decompression(lossy, restored, options, auto):
    expected = transformers.AutoModelForCausalLM.from_pretrained(restored, **options)
    model = tessera.transformers.from_pretrained(transformers.AutoModelForCausalLM if auto else type(expected), lossy, **options)
    assert type(model) is type(expected) and model.dtype == expected.dtype and not model.training
    ours, theirs = model.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert model.generation_config.to_dict() == expected.generation_config.to_dict()
    tokens = transformers.AutoTokenizer.from_pretrained(lossy)("Once upon a time", return_tensors="pt", return_token_type_ids=False)
    said = [each.generate(**tokens, max_new_tokens=40, do_sample=False) for each in (model, expected)]
    assert torch.equal(*said) and said[0].shape[1] > tokens["input_ids"].shape[1] + 5


def test_transformers_alone_refuses_a_compressed_folder(lossy):
    with pytest.raises(Exception):  # never weights at random
        transformers.AutoModelForCausalLM.from_pretrained(lossy)


def test_the_config_keeps_no_mark(lossy):
    model = tessera.transformers.from_pretrained(transformers.AutoModelForCausalLM, lossy)
    assert "quantization_config" not in model.config.to_dict()
