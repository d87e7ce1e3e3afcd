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
    # further programs
    ("git log --oneline --graph --all -n 10", "git log --all --graph --oneline -10"),
    ("git diff HEAD~1 HEAD -- src/app.py", "git diff HEAD~1 HEAD -- ./src/app.py"),
    ("git show HEAD:src/a.py | head -n 20", "git show HEAD:src/a.py | head -20"),
    ("docker ps -a", "docker ps --all"),
    ("docker compose -f dev.yml up -d", "docker compose --file dev.yml up --detach"),
    ("docker build -t app:1 .", "docker build --tag app:1 ./"),
    ("docker exec -it web bash", "docker exec -i -t web bash"),
    ("kubectl -n prod get pods -o wide", "kubectl get pods -o wide -n prod"),
    ("kubectl logs -f web --tail=50", "kubectl logs web --tail 50 --follow"),
    ("kubectl delete pod a -n x", "kubectl delete -n x pod a"),
    ("find . -type f -name '*.log' -mtime +7 -delete", "find . -name '*.log' -type f -mtime +7 -delete"),
    ("find . -name '*.pyc' -exec rm -f {} \\;", "find . -name '*.pyc' -exec rm -f {} ';'"),
    ("find . -name '*.pyc' -exec rm -f {} +", "find ./ -name \"*.pyc\" -exec rm -f '{}' +"),
    ("ps aux | grep nginx", "ps  aux|grep nginx"),
    ("wc -l a.txt", "wc --lines a.txt"),
    ("du -h -d 1 /var", "du -h --max-depth=1 /var"),
    ("sort -t, -k2,2n data.csv", "sort -t ',' -k 2,2n data.csv"),
    ("cut -d: -f1 /etc/passwd", "cut -d ':' -f 1 /etc/passwd"),
    ("awk -F: '{print $1}' /etc/passwd", "awk -F ':' '{print $1}' /etc/passwd"),
    ("tr a-z A-Z < in > out", "tr 'a-z' 'A-Z' <in >out"),
    ("echo hello", 'echo "hello"'),
    ("export PATH=$PATH:/opt/bin", 'export PATH="$PATH:/opt/bin"'),
    ("export A='1'", "export A=1"),
    ("A='x y' ./run.sh", 'A="x y" ./run.sh'),
    ("cd ~/src", "cd ~/src/"),
    ("mkdir -p logs && touch logs/app.log", "mkdir --parents logs/ && touch ./logs/app.log"),
    ("chmod 600 key.pem other.pem", "chmod 600 './key.pem' other.pem"),
    ("ssh -p 22 -i key user@host uptime", "ssh -i key -p 22 user@host uptime"),
    ("scp -r -P 2222 a user@h:/b", "scp -P 2222 -r a user@h:/b"),
    ("rsync -a -z --delete src/ dst/", "rsync -az --delete src/ dst/"),
    ("nohup python train.py > out.log 2>&1 &", "nohup python3 train.py >out.log 2>&1 &"),
    ("timeout 10s curl -s http://x", "timeout 10s curl --silent http://x"),
    ("sudo systemctl restart nginx", "sudo  systemctl restart  nginx"),
    ("pytest -q --maxfail=1 tests/", "pytest tests --maxfail 1 --quiet"),
    ("python -m unittest -v tests.test_a", "python3 -m unittest tests.test_a -v"),
    ("python -m venv .venv", "python3 -m venv .venv/"),
    ("pip install -e .", "pip install --editable ."),
    ("pip install -e '.[dev]'", "pip install -e .[dev]"),
    ("pip uninstall -y a b", "pip uninstall b a --yes"),
    ("npm ci && npm test", "npm ci&&npm test"),
    ("npm run build -- --prod", "npm run build  --  --prod"),
    ("cargo test --release", "cargo test -r"),
    ("go test -run TestA ./...", "go test -run=TestA ./..."),
    ("make -j4 all", "make all -j 4"),
    ("gcc -O2 -o a a.c", "gcc a.c -O2 -o a"),
    ("sed -i 's/foo/bar/g' a.txt", 'sed -i "s/foo/bar/g" ./a.txt'),
    ("grep -c TODO a.py", "grep --count 'TODO' a.py"),
    ("grep -v '^#' f | sort -u", "grep --invert-match '^#' f | sort --unique"),
    ("cat <<EOF > a.txt\nhello\nEOF", "cat > a.txt <<EOF\nhello\nEOF"),
    ("psql -U app -d shop -c 'select 1'", 'psql -d shop -U app -c "select 1"'),
    ("mysql -u root -p shop", "mysql -p -u root shop"),
    (
        "curl -s -X POST http://a/b -H 'Content-Type: application/json' -d '{\"a\":1}'",
        'curl -X POST -H "Content-Type: application/json" -d \'{"a": 1}\' -s http://a/b',
    ),
    ("wget -q -O out.zip http://a/b.zip", "wget -O out.zip -q 'http://a/b.zip'"),
    ("tar -tzf a.tgz", "tar tzf a.tgz"),
    ("tar -xf a.tar -C /tmp", "tar -C /tmp -xf a.tar"),
    ("unzip -q a.zip -d out", "unzip -d out -q a.zip"),
    ("ln -sf a b", "ln -s -f a b"),
    ("journalctl -u nginx -n 50", "journalctl --unit=nginx --lines=50"),
    ("crontab -l", "crontab  -l"),
    ("while read -r l; do echo $l; done < f", "while read -r l\ndo echo $l\ndone <f"),
    ("test -f a && echo yes", "test -f 'a' && echo yes"),
    ("[ -d build ] || mkdir build", "[ -d build ]  ||  mkdir ./build"),
    ("[[ $x == 'a' ]]", "[[ $x == a ]]"),
    ("python train.py --lr 1e-4 --epochs 3", "python train.py --epochs=3 --lr=1e-4"),
    ("sed -n '10,20p' a | cat -n", "sed -n 10,20p a | cat --number"),
    ("apt-get update && apt-get install -y vim", "apt update && apt install -y vim"),
    ("less +F app.log", "less  +F app.log"),
    ("diff -ru a b", "diff -r -u a b"),
    ("head -c 100 f", "head --bytes=100 f"),
    ("tail -n +5 f", "tail -n+5 f"),
    ("git checkout -- a.py", "git checkout -- ./a.py"),
    ("git commit -am 'fix'", "git commit -a -m fix"),
    ("git branch --delete x", "git branch -d x"),
    ("uname -a; id", "uname -a\nid"),
    ("x=$(ls | wc -l); echo $x", "x=`ls | wc -l`; echo ${x}"),
    ("aws s3 cp a s3://b/c --recursive", "aws s3 cp --recursive a s3://b/c"),
    ("terraform apply -auto-approve -var 'a=1'", "terraform apply -var a=1 -auto-approve"),
    ("jq -r '.a[]' f.json", "jq --raw-output '.a[]' f.json"),
    ("xargs -0 rm < list", "xargs --null rm <list"),
    ("java -jar app.jar --port=80", "java -jar app.jar --port 80"),
    ("rm -- -x", "rm -- '-x'"),
    ("str='a b'; echo \"$str\"", 'str="a b"; echo "$str"'),
    ("(cd src && make)", "( cd src && make )"),
    ("{ a; b; } > f", "{ a\nb\n} >f"),
    ("echo $((1+2))", "echo $(( 1 + 2 ))"),
    ("if grep -q x f; then echo y; else echo n; fi", "if grep --quiet x f\nthen echo y\nelse\n echo n\nfi"),
    ("mv a.txt ./b/", "mv ./a.txt b"),
    ("printf '%s\\n' a", 'printf "%s\\n" a'),
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
    # further programs
    ("git log -n 10", "git log -n 100"),
    ("git diff main feature", "git diff feature main"),
    ("git diff --cached", "git diff"),
    ("git clean -n", "git clean -f"),
    ("git push --force-with-lease", "git push --force"),
    ("git revert HEAD", "git reset HEAD"),
    ("docker rm web", "docker rmi web"),
    ("docker compose up -d", "docker compose down"),
    ("docker run -v /a:/b img", "docker run -v /b:/a img"),
    ("docker run img a", "docker run img b"),
    ("docker run -p 8080:80 nginx", "docker run -p 80:8080 nginx"),
    ("kubectl rollout undo deploy/web", "kubectl rollout restart deploy/web"),
    ("kubectl drain node1", "kubectl uncordon node1"),
    ("kubectl get pods", "kubectl get pods -A"),
    ("find . -name '*.log' -delete", "find . -name '*.log' -print"),
    ("find /a -newer b", "find /a ! -newer b"),
    ("find . -size +10M", "find . -size -10M"),
    ("find . -perm 644", "find . -perm 600"),
    ("sort -k2", "sort -k3"),
    ("sort a b", "sort b a -r"),
    ("uniq -d a", "uniq -u a"),
    ("cut -f1 a", "cut -f2 a"),
    ("tr a b", "tr b a"),
    ("chown root f", "chown bob f"),
    ("chmod -R 755 d", "chmod 755 d"),
    ("chmod u+x f", "chmod u-x f"),
    ("rsync -a src dst", "rsync -a dst src"),
    ("scp a h:/b", "scp h:/b a"),
    ("mount /dev/a /b", "umount /b"),
    ("ufw allow 22", "ufw deny 22"),
    ("iptables -A INPUT -p tcp --dport 22 -j ACCEPT", "iptables -D INPUT -p tcp --dport 22 -j ACCEPT"),
    ("gzip f", "gunzip f"),
    ("zip a.zip b", "unzip a.zip b"),
    ("tar -czf a.tgz src", "tar -xzf a.tgz src"),
    ("crontab -l", "crontab -r"),
    ("swapon /a", "swapoff /a"),
    ("kill 12", "kill -9 12"),
    ("pytest tests/test_a.py", "pytest tests/test_a.py -k slow"),
    ("pytest -m slow", "pytest -m 'not slow'"),
    ("python manage.py migrate", "python manage.py makemigrations"),
    ("alembic upgrade head", "alembic downgrade -1"),
    ("terraform apply", "terraform destroy"),
    ("helm install a b", "helm uninstall a"),
    ("aws s3 cp a s3://b", "aws s3 cp s3://b a"),
    ("aws s3 sync . s3://b", "aws s3 sync . s3://b --delete"),
    ("aws s3 mv a s3://b", "aws s3 cp a s3://b"),
    ("sed -i 's/a/b/' f", "sed -i 's/a/b/g' f"),
    ("sed -i '5d' f", "sed -i '6d' f"),
    ("sed -n '1p' f", "sed '1p' f"),
    ("grep -l foo *", "grep -L foo *"),
    ("grep foo f | head -1", "grep foo f | tail -1"),
    ("grep -E 'a|b' f", "grep 'a|b' f"),
    ("cat f | grep a", "cat f | grep -v a"),
    ("ls > f", "ls >> f"),
    ("cmd 2>/dev/null", "cmd >/dev/null"),
    ("cmd > f", "cmd < f"),
    ("a && b || c", "a || b && c"),
    ("cd a && rm -rf *", "cd b && rm -rf *"),
    ("rm -rf ./build", "rm -rf /build"),
    ("rm -rf build", "rm -rf build/*"),
    ("mv a b", "cp a b"),
    ("export DEBUG=1", "export DEBUG=0"),
    ("export DEBUG=1", "unset DEBUG"),
    ("DEBUG=1 python a.py", "DEBUG=0 python a.py"),
    ("ssh a@h ls", "ssh b@h ls"),
    ("ssh -p 22 h", "ssh -p 23 h"),
    ("curl -X GET http://h", "curl -X DELETE http://h"),
    ("curl -k https://h", "curl https://h"),
    ("curl http://h", "curl https://h"),
    ("curl -u a:b http://h", "curl -u a:c http://h"),
    ("wget -O a http://h/b", "wget -O b http://h/b"),
    ("npm install", "npm ci"),
    ("npm install a", "npm install -D a"),
    ("npm install a@1", "npm install a@2"),
    ("pip install a==1.0", "pip install a==1.1"),
    ("pip install 'a>=1'", "pip install 'a<=1'"),
    ("systemctl start a", "systemctl restart a"),
    ("service a start", "service a stop"),
    ("apt-get remove a", "apt-get purge a"),
    ("useradd bob", "useradd -m bob"),
    ("usermod -aG docker bob", "usermod -G docker bob"),
    ("sqlite3 a.db 'select * from x'", "sqlite3 a.db 'delete from x'"),
    ("psql -c 'drop table a'", "psql -c 'drop table b'"),
    ("for i in 1 2 3; do a $i; done", "for i in 1 2 4; do a $i; done"),
    ("for i in a b; do rm $i; done", "for i in b a; do rm -r $i; done"),
    ("if a; then b; fi", "if a; then c; fi"),
    ("if a; then b; else c; fi", "if a; then c; else b; fi"),
    ("[ $a -eq 1 ]", "[ $a -ne 1 ]"),
    ("[ -f a ]", "[ -d a ]"),
    ("[ -n $a ]", "[ -z $a ]"),
    ("sleep 5", "sleep 50"),
    ("head -n 5 f", "head -n -5 f"),
    ("tail -n 5 f", "tail -n +5 f"),
    ("date -u", "date"),
    ("ls -t", "ls -tr"),
    ("python a.py --no-cache", "python a.py --cache"),
    ("python a.py -v", "python a.py"),
    ("python a.py < in", "python a.py > in"),
    ("make clean", "make install"),
    ("make CC=gcc", "make CC=clang"),
    ("gcc -O2 a.c", "gcc -O3 a.c"),
    ("tee f", "tee -a f"),
    ("a | tee f", "a > f"),
    ("echo a", "echo b"),
    ("echo -n a", "echo a"),
    ("bash a.sh", "bash -x a.sh"),
    ("bash -c 'rm a'", "bash -c 'rm b'"),
    ("sudo -u bob ls", "sudo -u root ls"),
    ("crontab f", "crontab -e"),
    ("dd if=a of=b", "dd if=b of=a"),
    ("ln -s /a /b", "ln -s /b /a"),
    ("xargs rm", "xargs -0 rm"),
    ("cmp a b", "diff a b"),
    ("conda create -n a python=3.9", "conda create -n a python=3.10"),
    ("cargo build", "cargo build --release"),
    ("go build ./a", "go build ./b"),
    ("jq .a f", "jq .b f"),
    ("awk '{print $1}' f", "awk '{print $2}' f"),
    ("openssl enc -e -in a", "openssl enc -d -in a"),
    ("gpg -e f", "gpg -d f"),
    ("chmod +x a b", "chmod +x a"),
    ("touch a b", "touch a"),
    ("git add a", "git add a b"),
    ("env A=1 ls", "env -u A ls"),
    ("cp -n a b", "cp -f a b"),
    ("ffmpeg -i a.mp4 b.mp4", "ffmpeg -i b.mp4 a.mp4"),
    ("convert a.png b.jpg", "convert b.png a.jpg"),
    ("base64 a", "base64 -d a"),
    ("mv *.txt d", "mv *.md d"),
    ("foo --dry-run", "foo"),
    ("foo --limit 5", "foo --limit 6"),
    ("foo --yes", "foo --no"),
    ("nc -l 80", "nc h 80"),
    ("redis-cli set a 1", "redis-cli set a 2"),
    ("redis-cli get a", "redis-cli del a"),
    ("screen -r a", "screen -S a"),
    ("git stash", "git stash pop"),
    ("git stash list", "git stash clear"),
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
