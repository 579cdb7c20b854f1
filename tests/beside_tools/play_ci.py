#!/usr/bin/env python3
"""Runs the shell steps of a CI file here, as its runner would:

    play_ci.py github ACTION NAME=VALUE...    a composite action with these inputs
    play_ci.py gitlab FILE JOB NAME=VALUE...  a job with these variables

It reads the part of both languages that examples/ci uses, and refuses the rest. What an action of others would do is
only printed. The exit code is that of the step that fails.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml


def fail(text):
    sys.exit(f"play_ci.py: {text}")


class Github:
    def __init__(self, path, inputs):
        self.action = yaml.safe_load(pathlib.Path(path).read_text())
        unknown = set(inputs) - set(self.action["inputs"])
        if unknown:
            fail(f"no such input: {unknown}")
        self.temp = tempfile.mkdtemp(dir=os.environ["DIR"])
        self.values = {
            "github.token": "a-token",
            "github.event.number": os.environ.get("NUMBER", ""),
            "runner.temp": self.temp,
        }
        for name, about in self.action["inputs"].items():
            self.values[f"inputs.{name}"] = self.filled(inputs.get(name, about.get("default", "")))
        self.path = os.environ["PATH"]

    def filled(self, text):
        return re.sub(r"\$\{\{ *([a-z0-9.-]+) *\}\}", lambda found: self.value(found[1]), str(text))

    def value(self, name):
        if re.fullmatch(r"steps\.[a-z]+\.outputs\.[a-z]+", name):
            return self.values.get(name, "")
        if name not in self.values:
            fail(f"nothing is known of {name}")
        return self.values[name]

    def holds(self, condition):
        def one(term):
            found = re.fullmatch(r"([a-z.-]+) != ''", term.strip())
            return self.value(found[1]) != "" if found else fail(f"if: {term}")

        return all(one(term) for term in condition.split("&&"))

    def play(self):
        for step in self.action["runs"]["steps"]:
            if "if" in step and not self.holds(step["if"]):
                print(f"-- {step['name']}: left out")
                continue
            print(f"-- {step['name']}", flush=True)
            code = self.run(step) if "run" in step else self.other(step)
            if code != 0:
                return code
        return 0

    def other(self, step):
        given = {name: self.filled(value) for name, value in step.get("with", {}).items()}
        print(f"uses {step['uses']} with {given}")
        missing = [value for value in given.values() if value.startswith("/") and not os.path.exists(value)]
        return f"there is no {missing}" if missing else 0

    def run(self, step):
        if step["shell"] != "bash":
            fail(f"shell: {step['shell']}")
        if "${{" in step["run"]:
            fail("an input within the text of a script would be run as code: hand it over in env")
        names = ("GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")
        files = {name: os.path.join(self.temp, name) for name in names}
        for name in ("GITHUB_OUTPUT", "GITHUB_PATH"):
            pathlib.Path(files[name]).write_text("")
        given = {name: self.filled(value) for name, value in step.get("env", {}).items()}
        known = {"RUNNER_TEMP": self.temp, "GITHUB_REPOSITORY": "acme/shop", "PATH": self.path}
        script = os.path.join(self.temp, "script.sh")
        pathlib.Path(script).write_text(step["run"])
        code = subprocess.call(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", script], env={**os.environ, **known, **files, **given}
        )
        for line in pathlib.Path(files["GITHUB_OUTPUT"]).read_text().splitlines():
            name, value = line.split("=", 1)
            self.values[f"steps.{step['id']}.outputs.{name}"] = value
        for line in pathlib.Path(files["GITHUB_PATH"]).read_text().splitlines():
            self.path = f"{line}:{self.path}"
        return code


def play_gitlab(path, name, variables):
    file = yaml.safe_load(pathlib.Path(path).read_text())
    job = {}
    while name:
        parent = file[name]
        job = {**parent, **job}
        name = parent.get("extends")
    lines = job.get("before_script", []) + job.get("script", [f"echo the script of {sys.argv[3]} begins"])
    # Debian's sh is the least that a runner has.
    script = "".join(line.rstrip("\n") + "\n" for line in lines)
    return subprocess.call(["sh", "-e", "-c", script], env={**os.environ, **file["variables"], **variables})


def pairs(words):
    return dict(word.split("=", 1) for word in words)


if sys.argv[1] == "github":
    sys.exit(Github(sys.argv[2], pairs(sys.argv[3:])).play())
sys.exit(play_gitlab(sys.argv[2], sys.argv[3], pairs(sys.argv[4:])))
