"""Command lines by their grammar: pairs that do the same, pairs that do not, and what holds for any text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import recorded
from search import examples
from verifiers_actions import call, calls, score

from pivotrl_cli.verifiers.compare.commands import command_difference
from pivotrl_cli.verifiers.compare.programs import TABLE, options_of
from pivotrl_cli.verifiers.compare.shell import read_script

SAME = [
    # flags in any order, together or apart, short or long
    ("ls -la", "ls -al"),
    ("ls -l -a src/", "ls -la src"),
    ("ls -l --all", "ls -al"),
    ("ls", "ls ."),
    ("grep -rn foo src", "grep -nr foo src/"),
    ("grep -r -n foo src", "grep foo -rn src"),
    ("grep --recursive --line-number 'foo' src", 'grep -rn "foo" src'),
    ("grep -A3 foo a.py", "grep -A 3 foo a.py"),
    ("grep --include='*.py' -r foo .", 'grep -r foo --include "*.py" ./'),
    ("grep -e foo -r .", "grep -r foo ."),
    ("egrep 'a|b' x", "grep -E 'a|b' x"),
    ("head -5 a.txt", "head -n 5 a.txt"),
    ("head -n5 a.txt", "head --lines=5 a.txt"),
    ("tail -f -n 20 app.log", "tail -20f app.log"),
    ("rm -rf build/", "rm -r -f ./build"),
    ("rm -fr a b", "rm -rf b a"),
    ("mkdir -p a/b c", "mkdir --parents c a/b"),
    ("cp -r src dst", "cp -R src dst/"),
    ("cp -t dst a", "cp -t dst ./a"),
    ("mv ./a b", "mv a b"),
    ("tar -xzf a.tgz -C out", "tar xzf a.tgz -C out"),
    ("tar -x -z -f a.tgz", "tar --extract --gzip --file=a.tgz"),
    ("sort -k 2 -n a", "sort -nk2 a"),
    ("sed -n '1,5p' a.py", "sed -n 1,5p a.py"),
    ("sed -r 's/a/b/' x", "sed -E 's/a/b/' x"),
    ("sed -i -e 's/a/b/' x", "sed -i 's/a/b/' x"),
    ("find . -name '*.py' -type f", "find . -type f -name '*.py'"),
    ("find src/ -maxdepth 2 -name a", "find src -maxdepth 2 -name a -print"),
    ("find -name a", "find . -name a"),
    ("git commit -m 'a b' -a", 'git commit -am "a b"'),
    ("git commit --message='x'", "git commit -m x"),
    ("git log -5 --oneline", "git log --oneline -n 5"),
    ("git log --max-count=5", "git log -n5"),
    ("git add a.py b.py", "git add b.py ./a.py"),
    ("git diff -- a.py", "git diff -- ./a.py"),
    ("git checkout -b fix main", "git checkout  -b fix  main"),
    ("git push -u origin main", "git push --set-upstream origin main"),
    ("git push origin main --force", "git push -f origin main"),
    ("git --no-pager log -3", "git --no-pager log -n 3"),
    ("pip install -U requests flask", "pip install flask requests --upgrade"),
    ("pip install -r requirements.txt", "pip install --requirement requirements.txt"),
    ("pip install requests", "python -m pip install requests"),
    ("pip3 install 'requests>=2'", 'pip install "requests>=2"'),
    ("pip install requests[socks]", "pip install 'requests[socks]'"),
    ("npm install --save-dev jest", "npm i -D jest"),
    ("apt-get install -y curl git", "apt-get -y install git curl"),
    ("apt install -y curl", "apt-get install curl --yes"),
    ("docker run -it --rm -p 80:80 nginx", "docker run --rm -i -t --publish 80:80 nginx"),
    ("docker run -e A=1 -e B=2 img cmd", "docker run --env A=1 --env=B=2 img cmd"),
    ("kubectl get pods -n prod", "kubectl --namespace prod get pods"),
    ("kubectl scale deploy web --replicas=3", "kubectl scale --replicas 3 deploy web"),
    ("pytest -x -q tests/a.py", "pytest tests/a.py -qx"),
    ("pytest -k 'a and b' tests", 'pytest tests/ -k "a and b"'),
    ("pytest tests/a.py::test_b -v", "pytest --verbose tests/a.py::test_b"),
    ("python -m pytest tests", "pytest tests"),
    ("python run.py --epochs 5 --lr=0.1", "python3 ./run.py --lr 0.1 --epochs=5"),
    ("curl -sL -o out.html https://a.org/x?y=1", "curl -s -L --output out.html 'https://a.org/x?y=1'"),
    ("curl -X POST -d '{\"a\": 1}' http://h/x", "curl --request POST http://h/x --data '{\"a\":1}'"),
    ("curl -H 'A: b' -H 'C: d' http://h", "curl http://h --header 'A: b' --header 'C: d'"),
    ("chmod +x run.sh", "chmod +x ./run.sh"),
    ("kill -9 12", "kill -KILL 12"),
    ("cat ./a b", "cat a ./b"),
    ("unknown-tool --size=5 --name x", "unknown-tool --name x --size 5"),
    # quotes, white space, comments
    ("echo 'a b'", 'echo "a b"'),
    ("echo a\\ b", "echo 'a b'"),
    ("cat 'a.txt'", "cat a.txt"),
    ("ls   -l    # all", "ls -l"),
    ("make test  ", "  make test\n"),
    ("cd /a &&\\\n  make", "cd /a && make"),
    ("echo ${HOME}", "echo $HOME"),
    ("echo `date`", "echo $(date)"),
    ("awk '{print $1}' f", "awk '{print $1}'  f"),
    # structure
    ("a; b", "a\nb"),
    ("cd /repo && pytest tests/a.py", "cd /repo/ && pytest /repo/tests/a.py"),
    ("make > log 2>&1", "make &> log"),
    ("make 1>log", "make > log"),
    ("cat < a > b", "cat > b < a"),
    ("for f in *.py; do wc -l $f; done", "for f in *.py\ndo\n  wc -l $f\ndone"),
    ("if [ -f a ]; then cat a; fi", "if [ -f a ]\nthen\n    cat a\nfi"),
    ("A=1 B=2 make", "env B=2 A=1 make"),
    ("sudo apt-get install -y vim", "sudo apt-get -y install vim"),
    ("find . -name a | xargs -n 1 rm -f", "find . -name a | xargs -n1 rm -f"),
    ("cat > a.py <<'EOF'\nx = 1\nEOF", "cat <<'END' > a.py\nx = 1\nEND"),
    ("python - <<'EOF'\nprint( 1 )\nEOF", "python3 - <<'EOF'\nprint(1)  # one\nEOF"),
    ('cat > a.json <<EOF\n{"a": 1}\nEOF', 'cat > a.json <<EOF\n{"a":1}\nEOF'),
    ("python -c 'print(1)'", 'python3 -c "print( 1 )"'),
    ("bash -c 'ls -la'", 'bash -c "ls -al"'),
    ("timeout 60 ls -la", "timeout 60 ls -al"),
    ("/usr/bin/ls -l", "ls -l"),
    ("rsync -av a/ b", "rsync -va a/ b"),
    ("ssh host 'ls -la'", 'ssh host "ls -la"'),
    ("sqlite3 a.db 'SELECT 1'", 'sqlite3 a.db "SELECT 1"'),
]

OTHER = [
    # another sub-command, flag, number, name
    ("pip install requests", "pip uninstall requests"),
    ("npm install left-pad", "npm uninstall left-pad"),
    ("apt-get install curl", "apt-get remove curl"),
    ("git reset --soft HEAD~1", "git reset --hard HEAD~1"),
    ("git reset HEAD~1", "git reset HEAD~2"),
    ("git stash pop", "git stash drop"),
    ("git push origin main", "git push --force origin main"),
    ("git push origin main", "git push origin dev"),
    ("git checkout main", "git checkout -b main"),
    ("git add .", "git add -u"),
    ("git diff a b", "git diff b a"),
    ("git merge main", "git rebase main"),
    ("git rebase --continue", "git rebase --abort"),
    ("git branch -d x", "git branch -D x"),
    ("git log -5", "git log -50"),
    ("git commit -m 'add tests'", "git commit -m 'remove tests'"),
    ("kubectl scale deploy web --replicas=3", "kubectl scale deploy web --replicas=0"),
    ("kubectl get pods -n prod", "kubectl get pods -n dev"),
    ("kubectl apply -f a.yaml", "kubectl delete -f a.yaml"),
    ("systemctl enable nginx.service", "systemctl disable nginx.service"),
    ("systemctl start nginx", "systemctl stop nginx"),
    ("docker start web", "docker stop web"),
    ("docker run -p 80:81 img", "docker run -p 81:80 img"),
    ("tar cf a.tar x", "tar xf a.tar x"),
    ("tar -czf a.tgz x", "tar -cjf a.tgz x"),
    ("echo a >> f", "echo a > f"),
    ("sort a > b", "sort a < b"),
    ("make 2> log", "make > log"),
    ("make > log 2>&1", "make 2>&1 > log"),
    ("cp a b", "cp b a"),
    ("mv a b", "mv b a"),
    ("cp -t a b", "cp -t b a"),
    ("ln -s a b", "ln -s b a"),
    ("ln -s a b", "ln a b"),
    ("diff a b", "diff b a"),
    ("cat a b", "cat b a"),
    ("scp h:/a b", "scp b h:/a"),
    ("rsync -a src/ dst", "rsync -a src dst"),
    ("rsync -a a b", "rsync -a --delete a b"),
    ("rm -r a", "rm -rf a"),
    ("rm a", "rm b"),
    ("rm *.txt", "rm '*.txt'"),
    ("chmod +x a", "chmod -x a"),
    ("chmod 644 a", "chmod 755 a"),
    ("head -5 a", "tail -5 a"),
    ("head -n 5 a", "head -n 50 a"),
    ("head -n 5 a", "head -c 5 a"),
    ("grep -i foo a", "grep -v foo a"),
    ("grep -A 3 foo a", "grep -B 3 foo a"),
    ("grep foo a", "grep Foo a"),
    ("grep foo a", "grep a foo"),
    ("grep -n 'a b' f", "grep -n 'a  b' f"),
    ("sed -i 's/a/b/' f", "sed 's/a/b/' f"),
    ("sed 's/a/b/' f", "sed 's/b/a/' f"),
    ("sed -n '1,50p' f", "sed -n '1,60p' f"),
    ("find . -name '*.py'", "find . -iname '*.py'"),
    ("find . -name a -delete", "find . -delete -name a"),
    ("find . -mtime +7", "find . -mtime -7"),
    ("find . -name a -o -name b", "find . -name a -name b"),
    ("find . -type f", "find . -type d"),
    ("pytest tests/a.py", "pytest tests/b.py"),
    ("pytest -x tests", "pytest tests"),
    ("pytest -k a", "pytest -k 'not a'"),
    ("pytest tests/a.py::test_b", "pytest tests/a.py::test_c"),
    ("python a.py", "python b.py"),
    ("python run.py --epochs 5", "python run.py --epochs 50"),
    ("python run.py a b", "python run.py b a"),
    ("python -c 'print(1)'", "python -c 'print(2)'"),
    ("./run.sh", "run.sh"),
    ("cd /a && ls", "cd /b && ls"),
    ("cd src", "cd .."),
    ("ls /a", "ls /b"),
    ("a && b", "a || b"),
    ("a && b", "a; b"),
    ("a | b", "b | a"),
    ("a && b", "b && a"),
    ("a &", "a"),
    ("(cd a && b)", "cd a && b"),
    ("! grep -q a f", "grep -q a f"),
    ("echo '$HOME'", 'echo "$HOME"'),
    ("echo $A", "echo $B"),
    ("A=1 make", "A=2 make"),
    ("A=1 make", "make"),
    ("export A=1", "export A=2"),
    ("sudo rm a", "rm a"),
    ("curl -X POST http://h/x", "curl -X PUT http://h/x"),
    ("curl http://a/x", "curl http://b/x"),
    ("curl -o a http://h", "curl -O a http://h"),
    ("curl -d '{\"a\": 1}' http://h", "curl -d '{\"a\": 2}' http://h"),
    ("cat > a <<'EOF'\nx = 1\nEOF", "cat > a <<'EOF'\nx = 2\nEOF"),
    ("cat > a.py <<'EOF'\nif a:\n    b()\nc()\nEOF", "cat > a.py <<'EOF'\nif a:\n    b()\n    c()\nEOF"),
    ("cat > a <<'EOF'\nx\nEOF", "cat >> a <<'EOF'\nx\nEOF"),
    ("cat > a <<'EOF'\n$x\nEOF", "cat > a <<EOF\n$x\nEOF"),
    ("for f in a b; do rm $f; done", "for f in a c; do rm $f; done"),
    ("if [ -f a ]; then b; fi", "if [ ! -f a ]; then b; fi"),
    ("[ 1 -lt 2 ]", "[ 1 -gt 2 ]"),
    ("while true; do a; done", "until true; do a; done"),
    ("unknown a b", "unknown b a"),
    ("unknown -a b", "unknown -A b"),
    ("unknown -o x y", "unknown x -o y"),
    ("ssh a ls", "ssh b ls"),
    ("kill -9 12", "kill -15 12"),
    ("kill -9 12", "kill -9 13"),
    ("iptables -A INPUT -j ACCEPT", "iptables -A INPUT -j DROP"),
    ("useradd -m bob", "userdel bob"),
    ("ls 'a", "ls 'b"),
    ("echo a  b > 'c d'", "echo a b > 'c  d'"),
    ("date -d 'yesterday'", "date -d 'tomorrow'"),
    ("xargs -n 1 rm", "xargs -n 2 rm"),
    ("timeout 60 make", "timeout 600 make"),
    ("sort a | uniq", "sort a | uniq -c"),
    ("sort -n a", "sort -r a"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_commands_that_do_the_same(left: str, right: str) -> None:
    assert command_difference(left, right) is None
    assert command_difference(right, left) is None


@pytest.mark.parametrize(("left", "right"), OTHER)
def test_commands_that_do_not(left: str, right: str) -> None:
    assert command_difference(left, right) is not None
    assert command_difference(right, left) is not None


@pytest.mark.parametrize("verifier", ["swe", "terminal"])
def test_commands_that_do_the_opposite(verifier: str) -> None:
    """Case 21; `OTHER` has its siblings."""
    path = "cases/case21_opposite_commands"
    shown = [json.loads(line)["messages"][-1] for line in recorded(f"{path}.jsonl").read_text().splitlines()]
    given = [json.loads(line)["completions"][0] for line in recorded(f"{path}.replay.jsonl").read_text().splitlines()]
    for message, text in zip(shown, given, strict=True):
        expected = calls(call("execute_bash", message["tool_calls"][0]["function"]["arguments"]))
        said = json.loads(text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
        assert score(verifier, expected, expected).reward == 1.0
        assert score(verifier, expected, calls(call("execute_bash", said["arguments"]))).reward == 0.0


def test_the_table_of_programs_is_sound() -> None:
    keys = {"options", "order", "rest", "stops", "script", "default", "verbatim", "words", "literal", "slash", "dashes",
            "bundle", "commands", "same", "aliases"}  # fmt: skip
    assert {key for entry in TABLE.values() for key in entry} == keys
    assert [name for name in TABLE if " " in name and name.rsplit(" ", 1)[0] not in TABLE and "-m" not in name] == []
    spelled = [name for name in TABLE for option in options_of(name).names if not option.startswith("-")]
    assert spelled == []


# --- properties

words = st.sampled_from(["a", "b", "-a", "-b", "--long", "--long=1", "'a b'", '"$x"', "a/b", "*.py", "5", "\\;"])
programs = st.sampled_from(["ls", "grep", "git add", "pip install", "unknown", "find", "docker run", "python", "sudo"])
simple = st.builds(lambda program, rest: " ".join([program, *rest]), programs, st.lists(words, max_size=5))
joints = st.sampled_from([" && ", " || ", "; ", " | ", "\n", " & "])
lines = st.builds(lambda left, joint, right: left + joint + right, simple, joints, simple) | simple
texts = st.text(st.sampled_from("ab -'\"$(){}[]<>|&;#\\\n`=*~!E"), max_size=60)
quick = examples(150)


@quick
@given(lines | texts, lines | texts)
def test_equality_is_reflexive_and_symmetric(left: str, right: str) -> None:
    assert command_difference(left, left) is None
    assert (command_difference(left, right) is None) == (command_difference(right, left) is None)


@quick
@given(lines, st.sampled_from(["  ", "\n", " # a comment", " ;"]))
def test_what_follows_a_line_does_not_matter(line: str, tail: str) -> None:
    assert command_difference(line, line + tail) is None


@quick
@given(st.permutations(["-a", "-l", "--color=auto", "-I *.pyc", "--reverse"]))
def test_options_stand_in_any_order(options: list[str]) -> None:
    assert command_difference("ls -al --color=auto -rI '*.pyc' src", f"ls {' '.join(options)} src") is None


@quick
@given(st.lists(words, min_size=2, max_size=5, unique=True), st.integers(0, 4))
def test_a_further_word_is_another_command(rest: list[str], place: int) -> None:
    assert (
        command_difference(" ".join(["cp", *rest]), " ".join(["cp", *rest[:place], "other", *rest[place:]])) is not None
    )


@pytest.mark.parametrize(
    "unit", ["a|", "<<E\n", "(", "$(", "${", "[[ ", "if ", "case x in ", "bash -c '", "a && ", "`", "x=$(", "{ ", "'"]
)
@pytest.mark.parametrize("size", [2_000, 60_000])
def test_any_line_is_read_in_bounded_time(unit: str, size: int) -> None:
    """The grammar's time grows with the square of some of these, and its depth with all."""
    line = unit * (size // len(unit))
    assert command_difference(line, f"{line} ;x") is not None


def test_what_is_beyond_the_limits_is_not_parsed() -> None:
    assert read_script("a " * 10_001) is None
    assert read_script("a" + "|a" * 501) is None
    assert read_script("$(" * 80 + "a" + ")" * 80) is None
    assert read_script("echo 'a") is None
    assert command_difference("echo 'a  \n", "echo 'a") is None
