#!/usr/bin/env python3
"""Writes text.json: pieces of texts by the patterns of GPT-2 and GPT-4, as the module regex finds them."""
import json
import os
import random

import regex

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
GPT4 = (r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"""
        r"""|\s*[\r\n]+|\s+(?!\S)|\s+""")
SIGNS = list(" \n\t  's't're've'm'll'dabcXYZ0123456789.,!?-'\"()  \r\n\u00a0\u3000äöüßéñ中文日本語кириллица١٢٣٤½²\u0301😀")

random.seed(3)
texts = ["", " ", "  ", "a  b", "a\n\nb", "I'm  he'll HE'LL it's\n", " 's 'S", "12345 1 234", "x=1;\n\n  y", "é\u0301", "\u2028 a"]
texts += ["".join(random.choice(SIGNS) for _ in range(random.randint(1, 30))) for _ in range(120)]
cases = [{"text": text, "gpt2": regex.findall(GPT2, text), "gpt4": regex.findall(GPT4, text)} for text in texts]
with open(os.path.join(os.path.dirname(__file__), "text.json"), "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
