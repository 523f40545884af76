"""docker-py against a daemon: what its users call, and what they get.

Started by tests/docker_py.rs in the daemon's network, with DOCKER_HOST, TEST_IMAGE (the name of an
image with busybox in a registry) and TEST_DIR (a directory that the daemon sees).
"""

import faulthandler
import io
import json
import os
import socket
import tarfile
import threading
import time
import unittest
import urllib.request

import docker
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from docker.types import LogConfig, Mount, Ulimit

IMAGE = os.environ["TEST_IMAGE"]
DIR = os.environ["TEST_DIR"]
ID = r"^[0-9a-f]{64}$"


def client():
    return docker.from_env(timeout=60)


class Case(unittest.TestCase):
    """A client; containers made by `start` and `create` go at the end."""

    def setUp(self):
        self.client = client()
        self.addCleanup(self.client.close)

    def start(self, command, image=IMAGE, **options):
        container = self.client.containers.run(image, command, detach=True, **options)
        self.addCleanup(self.discard, container.id)
        return container

    def create(self, command="true", **options):
        container = self.client.containers.create(IMAGE, command, **options)
        self.addCleanup(self.discard, container.id)
        return container

    def discard(self, name):
        try:
            self.client.api.remove_container(name, force=True, v=True)
        except NotFound:
            pass

    def refused(self, status, call, *args, **options):
        with self.assertRaises(APIError) as caught:
            call(*args, **options)
        self.assertEqual(caught.exception.status_code, status, caught.exception)
        return caught.exception.explanation


class System(Case):
    def test_ping_version_info(self):
        self.assertTrue(self.client.ping())
        version = self.client.version()
        self.assertEqual(version["Os"], "linux")
        self.assertEqual(version["MinAPIVersion"], "1.24")
        self.assertEqual(version["KernelVersion"], os.uname().release)
        info = self.client.info()
        self.assertEqual(info["OSType"], "linux")
        self.assertEqual(info["NCPU"], os.cpu_count())
        self.assertEqual(info["Swarm"]["LocalNodeState"], "inactive")
        self.assertIn("json-file", info["Plugins"]["Log"])

    def test_every_version_of_the_api_answers(self):
        for minor in (24, 30, 35, 41, 44, 51):
            with self.subTest(minor=minor):
                old = docker.DockerClient(
                    base_url=os.environ["DOCKER_HOST"], version=f"1.{minor}")
                self.assertTrue(old.ping())
                self.assertGreaterEqual(len(old.images.list()), 1)
                container = old.containers.create(IMAGE, "true")
                container.start()
                container.wait()
                container.remove()
                old.close()
        new = docker.DockerClient(base_url=os.environ["DOCKER_HOST"], version="9.99")
        self.assertIn("is too new", self.refused(400, new.info))
        new.close()

    def test_events_are_a_generator(self):
        events = self.client.events(decode=True, filters={"type": "container"})
        seen = []

        def listen():
            for event in events:
                seen.append((event["Actor"]["Attributes"]["name"], event["Action"], event))
                if event["Action"] == "destroy" and event["Actor"]["Attributes"]["name"] == "told":
                    return

        listener = threading.Thread(target=listen)
        listener.start()
        begin = int(time.time())
        container = self.start("sh -c 'exit 3'", name="told")
        container.wait()
        container.remove()
        listener.join(60)
        self.assertFalse(listener.is_alive())
        actions = [action for name, action, _ in seen if name == "told"]
        self.assertEqual(actions, ["create", "start", "die", "destroy"])
        died = next(e for name, action, e in seen if (name, action) == ("told", "die"))
        self.assertEqual(died["Actor"]["Attributes"]["exitCode"], "3")
        self.assertEqual(died["Actor"]["Attributes"]["image"], IMAGE)
        self.assertEqual((died["Type"], died["id"], died["scope"]),
                         ("container", container.id, "local"))
        past = self.client.events(
            decode=True, since=begin, until=int(time.time()) + 1,
            filters={"event": "die", "container": "told"})
        self.assertEqual([e["Action"] for e in past], ["die"])
        # A stream without end ends when its reader closes it.
        endless = self.client.events()
        endless.close()

    def test_what_is_not_there_says_so(self):
        for call in (lambda: self.client.networks.create("mine"),
                     lambda: self.client.images.search("mine")):
            with self.assertRaises(APIError) as caught:
                call()
            self.assertIn(caught.exception.status_code, (404, 501))
        self.refused(503, self.client.services.list)


class Images(Case):
    def test_pull_list_get_tag_remove(self):
        image = self.client.images.pull(IMAGE)
        self.assertIn(IMAGE, image.tags)
        self.assertRegex(image.id, r"^sha256:[0-9a-f]{64}$")
        self.assertEqual(image.attrs["Os"], "linux")
        self.assertTrue(image.attrs["RepoDigests"][0].startswith(IMAGE.rsplit(":", 1)[0] + "@"))
        self.assertEqual(self.client.images.get(image.short_id).id, image.id)
        self.assertEqual(self.client.images.get(image.attrs["RepoDigests"][0]).id, image.id)
        self.assertEqual(len(image.history()), 1)
        lines = list(self.client.api.pull(IMAGE, stream=True, decode=True))
        self.assertEqual(lines[-1]["status"], f"Status: Image is up to date for {IMAGE}")

        self.assertTrue(image.tag("copy", "one"))
        self.assertTrue(image.tag("copy:two"))
        self.assertEqual({i.id for i in self.client.images.list("copy")}, {image.id})
        found = self.client.images.list(filters={"reference": "copy:o*"})
        self.assertEqual([i.id for i in found], [image.id])
        image.reload()
        self.assertLess({"copy:one", "copy:two"}, set(image.tags))
        self.client.images.remove("copy:one")
        self.client.images.remove("copy:two")
        self.assertEqual(self.client.images.list("copy"), [])
        self.assertEqual(self.client.images.get(IMAGE).id, image.id)

    def test_save_and_load(self):
        image = self.client.images.get(IMAGE)
        image.tag("kept:1")
        archive = b"".join(self.client.images.get("kept:1").save(named=True))
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            manifest = json.load(tar.extractfile("manifest.json"))
        self.assertEqual(manifest[0]["RepoTags"], ["kept:1"])
        self.client.images.remove("kept:1")
        self.assertRaises(ImageNotFound, self.client.images.get, "kept:1")
        loaded = self.client.images.load(archive)
        self.assertEqual([(i.id, "kept:1" in i.tags) for i in loaded], [(image.id, True)])
        self.client.images.remove("kept:1")

    def test_errors(self):
        self.assertRaises(ImageNotFound, self.client.images.get, "nosuch:1")
        self.assertIn("No such image: nosuch:latest",
                      self.refused(404, self.client.images.remove, "nosuch"))
        registry = IMAGE.split("/")[0]
        self.assertRaises(NotFound, self.client.images.pull, f"{registry}/nosuch", tag="1")
        self.refused(400, self.client.images.get(IMAGE).tag, "Upper")
        user = self.create()
        self.client.images.get(IMAGE).tag("second:1")
        self.refused(409, self.client.images.remove, self.client.images.get(IMAGE).id)
        self.client.images.remove("second:1")
        user.remove()
        with self.assertRaises(docker.errors.ImageLoadError):
            self.client.images.load(b"this is no archive")


class Running(Case):
    def run_once(self, command, **options):
        """Output of a command that runs to its end and is removed."""
        return self.client.containers.run(IMAGE, command, remove=True, **options)

    def test_output_of_short_lives_is_never_lost(self):
        def rounds(thread):
            for n in range(15):
                word = f"{thread}-{n}"
                said.append((self.run_once(["echo", word]), f"{word}\n".encode()))

        said = []
        threads = [threading.Thread(target=rounds, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([pair for pair in said if pair[0] != pair[1]], [])
        self.assertEqual(len(said), 60)

    def test_output_environment_and_streams(self):
        self.assertEqual(self.run_once(["echo", "a  b"]), b"a  b\n")
        both = "echo out; echo err >&2"
        self.assertEqual(self.run_once(["sh", "-c", both]), b"out\n")
        self.assertEqual(self.run_once(["sh", "-c", both], stdout=False, stderr=True), b"err\n")
        text = self.run_once("env", environment={"A": "b c", "E": ""})
        self.assertLess({b"A=b c", b"E="}, set(text.splitlines()))
        self.assertIn(b"X=1", self.run_once("env", environment=["X=1"]))
        self.assertEqual(self.run_once("pwd", working_dir="/tmp/deep"), b"/tmp/deep\n")
        self.assertEqual(self.run_once("id -u", user="1234"), b"1234\n")
        self.assertEqual(self.run_once("hostname", hostname="called"), b"called\n")
        self.assertEqual(self.run_once("word", entrypoint=["echo", "first"]), b"first word\n")
        with self.assertRaises(ContainerError) as caught:
            self.run_once(["sh", "-c", "echo why >&2; exit 9"])
        self.assertEqual((caught.exception.exit_status, caught.exception.stderr), (9, b"why\n"))
        self.assertEqual([c.name for c in self.client.containers.list(all=True)], [])

    def test_volumes_and_mounts(self):
        with open(os.path.join(DIR, "file"), "w", encoding="utf-8") as file:
            file.write("hello\n")
        volumes = {DIR: {"bind": "/there", "mode": "ro"}}
        self.assertEqual(self.run_once("cat /there/file", volumes=volumes), b"hello\n")
        with self.assertRaises(ContainerError):
            self.run_once("touch /there/new", volumes=volumes)
        self.run_once("touch /there/new", volumes=[f"{DIR}:/there:rw"])
        self.assertTrue(os.path.exists(os.path.join(DIR, "new")))
        mounts = [Mount("/there", DIR, type="bind", read_only=True)]
        self.assertEqual(self.run_once("cat /there/file", mounts=mounts), b"hello\n")
        self.assertIn(b"tmpfs", self.run_once("grep /fast /proc/mounts", tmpfs={"/fast": "size=1m"}))

    def test_limits_and_security(self):
        container = self.start(
            "sleep 600", mem_limit="64m", nano_cpus=500_000_000, pids_limit=50,
            ulimits=[Ulimit(name="nofile", soft=100, hard=200)], cap_drop=["ALL"], read_only=True,
            security_opt=["no-new-privileges"], labels={"a": "b"}, init=True, shm_size="1m",
            log_config=LogConfig(type="json-file", config={"max-size": "1m"}),
            dns=["192.0.2.1"], extra_hosts={"other": "192.0.2.2"})
        host = container.attrs["HostConfig"]
        self.assertEqual((host["Memory"], host["NanoCpus"], host["PidsLimit"]),
                         (64 << 20, 500_000_000, 50))
        self.assertEqual(container.labels, {"a": "b"})
        self.assertEqual(host["LogConfig"]["Config"], {"max-size": "1m"})

        def inside(command):
            code, output = container.exec_run(["sh", "-c", command])
            return code, output.decode()

        self.assertEqual(inside("ulimit -n")[1], "100\n")
        self.assertRegex(inside("grep CapEff /proc/1/status")[1], r"\t0{16}\n")
        self.assertRegex(inside("grep NoNewPrivs /proc/1/status")[1], r"\t1\n")
        self.assertNotEqual(inside("touch /new")[0], 0)
        self.assertIn("192.0.2.1", inside("cat /etc/resolv.conf")[1])
        self.assertRegex(inside("cat /etc/hosts")[1], r"192\.0\.2\.2\s+other")

    def test_ports(self):
        loop = "echo served > /tmp/index; httpd -f -p 80 -h /tmp"
        container = self.start(["sh", "-c", loop], ports={"80/tcp": None, "81/udp": ("127.0.0.1", 8181)})
        container.reload()
        ports = container.attrs["NetworkSettings"]["Ports"]
        self.assertEqual(ports["81/udp"], [{"HostIp": "127.0.0.1", "HostPort": "8181"}])
        port = int(ports["80/tcp"][0]["HostPort"])
        self.assertEqual(container.ports, ports)
        deadline = time.monotonic() + 60
        while True:
            try:
                url = f"http://127.0.0.1:{port}/index"
                self.assertEqual(urllib.request.urlopen(url, timeout=30).read(), b"served\n")
                break
            except OSError:
                self.assertLess(time.monotonic(), deadline)
        other = self.create(ports={"80/tcp": port}, name="second")
        self.assertIn("port is already allocated", self.refused(500, other.start))
        other.reload()
        self.assertEqual(other.status, "created")

    def test_command_that_cannot_run(self):
        container = self.create("/nosuch")
        text = self.refused(400, container.start)
        self.assertIn("no such file or directory", text)
        container.reload()
        self.assertEqual(container.attrs["State"]["ExitCode"], 127)
        container = self.create("/etc")
        self.refused(400, container.start)
        container.reload()
        self.assertEqual(container.attrs["State"]["ExitCode"], 126)


class Lifecycle(Case):
    def test_stop_start_restart_kill_rename_remove(self):
        container = self.start(["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.01; done"],
                               name="first")
        self.assertRegex(container.id, ID)
        container.reload()
        self.assertEqual((container.status, container.name), ("running", "first"))
        self.assertEqual(container.image.id, self.client.images.get(IMAGE).id)
        container.restart(timeout=30)
        container.reload()
        self.assertEqual((container.status, container.attrs["RestartCount"]), ("running", 0))
        container.kill("TERM")
        self.assertEqual(container.wait(), {"StatusCode": 5})
        container.start()
        container.start()  # once is enough
        container.kill()
        self.assertEqual(container.wait()["StatusCode"], 137)
        self.assertIn("is not running", self.refused(409, container.kill))
        container.start()
        container.stop(timeout=0)
        container.stop()
        container.reload()
        self.assertEqual(container.status, "exited")
        self.assertGreaterEqual(container.attrs["State"]["FinishedAt"],
                                container.attrs["State"]["StartedAt"])
        container.rename("second")
        self.assertRaises(NotFound, self.client.containers.get, "first")
        self.assertEqual(self.client.containers.get("second").id, container.id)
        self.assertEqual(self.client.containers.get(container.short_id).id, container.id)
        container.start()
        self.refused(409, container.remove)
        container.remove(force=True)
        self.assertRaises(NotFound, container.reload)

    def test_wait_tells_what_is_awaited(self):
        container = self.create("sh -c 'read line; exit 4'", stdin_open=True)
        codes = []

        def wait(condition):
            codes.append(client().api.wait(container.id, condition=condition)["StatusCode"])

        removed = threading.Thread(target=wait, args=("removed",))
        ended = threading.Thread(target=wait, args=("next-exit",))
        for thread in (removed, ended):
            thread.start()
        stream = container.attach_socket(params={"stdin": 1, "stream": 1})
        container.start()
        stream._sock.sendall(b"go\n")
        ended.join(60)
        container.remove()
        removed.join(60)
        stream.close()
        self.assertEqual(codes[0], 4)
        self.assertEqual(len(codes), 2)

    def test_top(self):
        container = self.start("sleep 600")
        top = container.top()
        self.assertEqual(top["Titles"], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"])
        self.assertEqual([row[-1] for row in top["Processes"]], ["sleep 600"])
        self.assertEqual(container.top(ps_args="-o pid,args")["Titles"], ["PID", "COMMAND"])

    def test_list_filters(self):
        running = self.start("sleep 600", name="up-one", labels={"role": "a"})
        ended = self.start("sh -c 'exit 3'", name="down-one", labels={"role": "b"})
        ended.wait()
        created = self.create(name="new-one", labels={"role": "b"})

        def names(**options):
            return sorted(c.name for c in self.client.containers.list(**options))

        self.assertEqual(names(), ["up-one"])
        self.assertEqual(names(all=True), ["down-one", "new-one", "up-one"])
        self.assertEqual(names(limit=1), ["new-one"])
        for filters, expected in [
            ({"label": "role=b"}, ["down-one", "new-one"]),
            ({"label": ["role", "role=a"]}, ["up-one"]),
            ({"exited": 3}, ["down-one"]),
            ({"status": ["created", "running"]}, ["new-one", "up-one"]),
            ({"name": "^/up"}, ["up-one"]),
            ({"name": "one"}, ["down-one", "new-one", "up-one"]),
            ({"id": created.short_id}, ["new-one"]),
            ({"ancestor": IMAGE}, ["down-one", "new-one", "up-one"]),
            ({"before": running.id}, []),
            ({"since": "down-one"}, ["new-one"]),
        ]:
            with self.subTest(filters=filters):
                self.assertEqual(names(all=True, filters=filters), expected)
        self.refused(400, self.client.containers.list, filters={"nosuch": "1"})
        sparse = self.client.containers.list(all=True, sparse=True)
        self.assertEqual(sparse[0].attrs["Names"], ["/new-one"])


class Streams(Case):
    def test_logs(self):
        container = self.start(["sh", "-c", "echo a; echo b >&2; echo c"])
        container.wait()
        self.assertEqual(sorted(container.logs().splitlines()), [b"a", b"b", b"c"])
        self.assertEqual(container.logs(stdout=False), b"b\n")
        self.assertEqual(len(container.logs(tail=2).splitlines()), 2)
        stamped = container.logs(timestamps=True, stderr=False).splitlines()
        self.assertRegex(stamped[0].decode(), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z a$")
        self.assertEqual(container.logs(since=int(time.time()) + 60), b"")
        self.assertEqual(b"".join(container.logs(stream=True, stderr=False)), b"a\nc\n")

    def test_logs_follow_to_the_end(self):
        container = self.start(["sh", "-c", "echo ready; read line; echo got $line"], stdin_open=True)
        lines = container.logs(stream=True, follow=True)
        self.assertEqual(next(lines), b"ready\n")
        stream = container.attach_socket(params={"stdin": 1, "stream": 1})
        stream._sock.sendall(b"it\n")
        self.assertEqual(list(lines), [b"got it\n"])
        stream.close()

    def test_attach(self):
        container = self.create(["sh", "-c", "cat; echo end >&2"], stdin_open=True)
        stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        container.start()
        stream._sock.sendall(b"line\n")
        stream._sock.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := stream._sock.recv(4096):
            received += chunk
        self.assertEqual(received,
                         b"\x01\0\0\0\0\0\0\x05line\n" + b"\x02\0\0\0\0\0\0\x04end\n")
        stream.close()
        self.assertEqual(container.wait()["StatusCode"], 0)
        self.assertEqual(container.attach(logs=True, stream=False, demux=True), (b"line\n", b"end\n"))

    def test_attach_to_a_terminal(self):
        container = self.create(["sh", "-c", "stty size; read x; echo $x"], stdin_open=True, tty=True)
        output = container.attach(stream=True)
        container.start()
        stdin = container.attach_socket(params={"stdin": 1, "stream": 1})
        container.resize(33, 111)
        stdin._sock.sendall(b"word\n")
        text = b"".join(output)
        self.assertEqual(text.count(b"word\r\n"), 2, text)
        stdin.close()

    def test_exec(self):
        container = self.start("sleep 600", environment={"A": "b"})
        both = ["sh", "-c", "echo out; echo err >&2; exit 6"]
        code, output = container.exec_run(both)
        self.assertEqual((code, sorted(output.splitlines())), (6, [b"err", b"out"]))
        self.assertEqual(container.exec_run(both, demux=True), (6, (b"out\n", b"err\n")))
        self.assertEqual(container.exec_run(both, stderr=False).output, b"out\n")
        streamed = container.exec_run("seq 3", stream=True).output
        self.assertEqual(b"".join(streamed), b"1\n2\n3\n")
        options = {"user": "12", "workdir": "/tmp", "environment": {"C": "d"}}
        script = ["sh", "-c", "id -u; pwd; echo $A$C"]
        self.assertEqual(container.exec_run(script, **options).output, b"12\n/tmp\nbd\n")
        tty = container.exec_run("tty", tty=True).output
        self.assertRegex(tty, rb"^/dev/(pts/\d+|console)\r\n$")

        stream = container.exec_run("cat", stdin=True, socket=True).output
        stream._sock.sendall(b"through\n")
        stream._sock.shutdown(socket.SHUT_WR)
        self.assertEqual(stream.read(), b"\x01\0\0\0\0\0\0\x08through\n")
        stream.close()

        job = self.client.api.exec_create(container.id, ["sh", "-c", "exit 3"])["Id"]
        self.assertEqual(self.client.api.exec_inspect(job)["Running"], False)
        self.client.api.exec_start(job)
        inspected = self.client.api.exec_inspect(job)
        self.assertEqual((inspected["ExitCode"], inspected["Running"]), (3, False))
        self.assertIn(container.exec_run("true", detach=True).exit_code, (None, 0))
        # Docker tells the exit code of a command that cannot be run; the error is in the stream.
        self.assertEqual(container.exec_run("/nosuch").exit_code, 127)
        container.kill()
        self.refused(409, container.exec_run, "true")


class Errors(Case):
    def test_unknown_things(self):
        for call in (
            lambda: self.client.containers.get("nosuch"),
            lambda: self.client.containers.run(f"{IMAGE}.nosuch", "true", detach=True),
            lambda: self.client.api.start("nosuch"),
            lambda: self.client.api.logs("nosuch"),
            lambda: self.client.api.wait("nosuch"),
            lambda: self.client.api.exec_inspect("nosuch"),
        ):
            with self.assertRaises(NotFound):
                call()
        self.assertEqual(self.refused(404, self.client.containers.get, "nosuch"),
                         "No such container: nosuch")

    def test_a_name_is_given_once(self):
        first = self.create(name="taken")
        text = self.refused(409, self.create, name="taken")
        self.assertEqual(text, f'Conflict. The container name "/taken" is already in use by container '
                               f'"{first.id}". You have to remove (or rename) that container to be '
                               f'able to reuse that name.')
        second = self.create(name="free")
        self.refused(409, second.rename, "taken")
        self.refused(400, self.create, name="no spaces")

    def post(self, path, body):
        api = self.client.api
        return api._result(api._post(api._url(path), data=body,
                                     headers={"Content-Type": "application/json"}))

    def test_bodies_that_are_wrong(self):
        for body, named in [
            ('{"Image": 5}', "Image"),
            ('{"Image": "x", "Env": "A=b"}', "Env"),
            ('{"Image": "x", "HostConfig": {"Memory": "64m"}}', "Memory"),
            ('{"Image": "x", "HostConfig": {"PortBindings": []}}', "PortBindings"),
            ('{"Image": "x", "Tty": "yes"}', "Tty"),
            ('{"Image": "x", "Labels": {"a": 1}}', "Labels"),
            ("{", "JSON"),
            ("", ""),
            ("[]", ""),
        ]:
            with self.subTest(body=body):
                self.assertIn(named, self.refused(400, self.post, "/containers/create", body))
        self.refused(400, self.create, mem_limit=4096)
        self.refused(400, self.create, volumes=["relative:path:what"])
        self.assertEqual(self.client.containers.list(all=True), [])


if __name__ == "__main__":
    # What hangs says where, instead of being waited for.
    faulthandler.dump_traceback_later(120, exit=True)
    unittest.main(verbosity=2)
