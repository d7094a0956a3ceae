"Notebooks in a real browser: JupyterLab, Voila and the classic notebook with ipywidgets 7, behind one set of verbs."

import base64
import importlib.util
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import nbformat.v4 as nbf
import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent
COLAB = ROOT / ".venv-colab"
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
CHROMIUM.append(
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
)  # nothing leaves this machine
ARTEFACTS = ROOT / "test-artefacts"


def make_notebook(path, cells):
    "Write a notebook of code cells with these sources."
    book = nbf.new_notebook(
        cells=[nbf.new_code_cell(c) for c in cells],
        metadata=dict(
            kernelspec=dict(name="python3", display_name="Python 3", language="python"),
            language_info=dict(name="python"),
        ),
    )
    Path(path).write_text(json.dumps(book, indent=1), encoding="utf-8")


def wait_until(true, what, seconds=60, every=0.05):
    "Call `true()` until it returns something true, and return that."
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(every)
    return found


def watch(page):
    "Collect in `page.errors` what console and scripts complain about, and requests that want to leave the machine."
    page.errors = []
    page.on("console", lambda m: m.type == "error" and page.errors.append(f"{m.text} ({m.location.get('url', '')})"))
    page.on("pageerror", lambda e: page.errors.append(str(e)))
    page.on(
        "request",
        lambda r: (
            urllib.parse.urlsplit(r.url).hostname not in (None, "127.0.0.1", "localhost")
            and page.errors.append(f"wants {r.url}")
        ),
    )
    page.on("dialog", lambda d: d.accept())  # "leave this page?"
    page.set_default_timeout(60_000)
    return page


BARE = """
const state = STATE, heard = [];
const model = {
  get: name => state[name], off: (name, fn) => heard.splice(heard.indexOf(fn), 1),
  on: (name, fn) => name === "msg:custom" && heard.push(fn),
  send: msg => toPython(JSON.stringify(msg)).then(said => {
    for (const [msg, buffers] of said) for (const fn of [...heard])
      fn(msg, buffers.map(b => new DataView(Uint8Array.from(atob(b), c => c.charCodeAt(0)).buffer))); }),
};
window.close_widget = widget.render({ model, el: document.body.appendChild(document.createElement("div")) });
"""


class Bare:
    "One widget on a page without Jupyter, its Python in this process: for all that does not depend on the front end."

    url = "http://127.0.0.1:9/bare"  # nothing listens there: the page is made here

    def __init__(self, page, widget):
        self.page, self.widget, self.silent, self.sent = page, widget, False, []
        widget.send = lambda msg, buffers=None: self.sent.append(
            [msg, [base64.b64encode(b).decode() for b in buffers or []]]
        )
        page.expose_function("toPython", self._told)
        page.route(
            self.url,
            lambda route: route.fulfill(
                body="<!doctype html><meta charset=utf-8><title>bare</title><body>", content_type="text/html"
            ),
        )
        self.load()

    def load(self):
        "Load the page, for the first time or again."
        self.page.goto(self.url)
        self.page.add_style_tag(
            content=self.widget._css if isinstance(self.widget._css, str) else str(self.widget._css)
        )
        state = json.dumps(dict(kind=self.widget.kind, setup=self.widget.setup))
        self.page.add_script_tag(
            content=str(self.widget._esm).replace("export default", "const widget =") + BARE.replace("STATE", state),
            type="module",
        )
        self.page.locator(".cp").wait_for()

    def _told(self, text):
        if self.silent:
            return []
        self.sent.clear()
        self.widget._receive(json.loads(text))
        return json.loads(json.dumps(self.sent))


class Server:
    """A front end that serves the notebooks of one folder on a free port of this machine, until `stop`.
    What differs between front ends is in the few lines of its subclasses."""

    name = ""  # in file names and test ids
    ready = ""  # a path that answers once the server is up
    known = r"favicon"  # console errors that are the front end's own
    error = ""  # selector of a cell's traceback
    died = ""  # selector of the button in the box that says that the kernel has died
    own_env = {}  # variables of its environment

    def __init__(self, folder):
        self.folder, self.token = Path(folder), secrets.token_hex(8)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        own = self.folder / ".jupyter"  # nobody's settings, kernels or workspaces
        own.mkdir(parents=True, exist_ok=True)
        self.log_file = own / f"{self.name}.log"
        env = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("JUPYTER", "JPY", "PYTEST", "VIRTUAL_ENV", "PYTHONPATH"))
        }
        env |= {f"JUPYTER_{k}_DIR": str(own / k.lower()) for k in ("CONFIG", "DATA", "RUNTIME")} | dict(
            IPYTHONDIR=str(own / "ipython"), CELLPROTOCOLS_QUIET="1"
        )
        env |= (
            dict(
                JUPYTERLAB_SETTINGS_DIR=str(own / "settings"),
                JUPYTERLAB_WORKSPACES_DIR=str(own / "workspaces"),
                JUPYTER_PREFER_ENV_PATH="1",
            )
            | self.own_env
        )
        orphan = (
            ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        )  # ends with us even if we are killed
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*orphan, *self.command(), "--KernelRestarter.time_to_dead=1"],
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._answers, f"{self.name} answers", 120, 0.1)
        except BaseException as e:
            self.stop()
            e.add_note(self.log())
            raise

    def command(self):
        raise NotImplementedError

    def log(self, lines=40):
        "The end of what the server has said."
        return f"--- log of {self.name}\n" + "\n".join(
            self.log_file.read_text("utf-8", "replace").splitlines()[-lines:]
        )

    def _ask(self, method, path):
        return urllib.request.urlopen(
            urllib.request.Request(self.url + path, method=method, headers=dict(Authorization=f"token {self.token}")),
            timeout=10,
        )

    def _answers(self):
        assert self.process.poll() is None, f"{self.name} ended at once"
        try:
            return self._ask("GET", self.ready)
        except urllib.error.HTTPError as e:
            return e.code < 500
        except OSError:
            return False

    def stop(self):
        "End the server and its kernels, by their ids."
        try:
            family = [(p := psutil.Process(self.process.pid)), *p.children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        for p in family:
            try:
                p.kill()
            except psutil.NoSuchProcess:
                pass
        self.process.wait(10)
        psutil.wait_procs(family, timeout=5)

    # ---------- kernels

    def kernels(self):
        "Kernel id -> process of every kernel that lives."
        found = {}
        for p in psutil.Process(self.process.pid).children(recursive=True):
            try:
                m = re.search(r"kernel-([\w-]+)\.json", " ".join(p.cmdline()))
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            if m:
                found[m[1]] = p
        return found

    def kill_kernel(self, page):
        """Kill the kernels as a crash or a full memory does. Returns when Jupyter has started a new one and the page
        knows:
        what is drawn is still there, but no Python is behind it until `run_all`."""
        dead = self.kernels()
        assert dead, "there is no kernel to kill"
        for p in dead.values():
            p.kill()
        psutil.wait_procs(dead.values(), timeout=10)
        wait_until(self.kernels, "a new kernel")
        if self.died:
            page.locator(self.died).click()
        if self.died:
            page.locator(self.died).wait_for(state="hidden")

    def end_kernels(self):
        "Shut every kernel down politely: nothing is left for the next test."
        for kernel in self.kernels():
            self._shutdown(kernel)
        wait_until(lambda: not self.kernels(), "kernels end", 20)

    def _shutdown(self, kernel):
        try:
            self._ask("DELETE", f"/api/kernels/{kernel}")
        except urllib.error.HTTPError as e:
            assert e.code == 404, e

    # ---------- notebooks

    def open_notebook(self, page, name, root=".jupyter-widgets"):
        "Open a notebook, run all cells, and return when `root` (a selector) is there. A cell's error is raised here."
        page.goto(self.page_url(name), wait_until="commit")
        self.run_all(page, root, opened=True)

    def run_all(self, page, root=".jupyter-widgets", opened=False):
        "Run all cells of the open notebook (again), and return when `root` is there."
        raise NotImplementedError

    def reload(self, page, root=".jupyter-widgets"):
        "Save where there is something to save, load the page again, return when `root` is there; nothing is run."
        self.save(page)
        page.reload(wait_until="commit")
        self._wait(page, root)

    def save(self, page):
        pass

    def _wait(self, page, root):
        try:
            page.locator(f"{root} >> visible=true").or_(page.locator(self.error)).first.wait_for()
        except Exception as e:
            e.add_note("\n".join([*page.errors, self.log()]))
            raise
        if (wrong := page.locator(self.error)).count():
            raise AssertionError(f"{self.name}: a cell failed:\n{wrong.first.inner_text()}")

    def _js(self, page, condition, arg=None):
        try:
            page.wait_for_function(condition, arg=arg, polling=100)
        except Exception as e:
            e.add_note(self.log())
            raise

    def complaints(self, page):
        "Console errors that are not the front end's own."
        return [e for e in page.errors if not re.search(self.known, e)]

    def shot(self, page, name):
        "A picture of the page in test-artefacts/."
        ARTEFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTEFACTS / f"{name}-{self.name}.png", full_page=True)


class Lab(Server):
    "JupyterLab of this environment."

    name, ready = "lab", "/api/status"
    error = (
        "[data-mime-type='application/vnd.jupyter.error'], "
        "[data-mime-type='application/vnd.jupyter.stderr']:has-text('Traceback')"
    )
    known = r"favicon|Could not restore the debugger state"
    died = ".jp-Dialog:has-text('died') .jp-mod-accept"

    @staticmethod
    def missing():
        return (
            not importlib.util.find_spec("jupyterlab")
            and 'JupyterLab is not installed: pip install "cellprotocols[dev]"'
        )

    def command(self):
        news = self.folder / ".jupyter" / "settings" / "@jupyterlab" / "apputils-extension"
        news.mkdir(parents=True, exist_ok=True)
        (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
        return [
            sys.executable,
            "-m",
            "jupyterlab",
            "--allow-root",
            "--no-browser",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.folder}",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.extension_manager=readonly",
        ]

    def page_url(self, name):
        return f"{self.url}/lab/tree/{urllib.parse.quote(name)}?reset&token={self.token}"

    def run_all(self, page, root=".jupyter-widgets", opened=False):
        self._js(
            page,
            "(w => w?.context?.isReady && w.sessionContext?.isReady && "
            "w.sessionContext.session?.kernel?.connectionStatus == 'connected'"
            " && w.sessionContext.session.kernel.status == 'idle')(window.jupyterapp?.shell.currentWidget)",
        )
        page.evaluate(
            "() => { window.ran = ''; window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => "
            "window.ran = 'yes', e => window.ran = 'no: ' + e) }"
        )
        self._js(page, "window.ran")
        self._wait(page, root)

    def save(self, page):
        page.evaluate(
            "() => { window.saved = false; window.jupyterapp.commands.execute('docmanager:save').then(() => "
            "window.saved = true) }"
        )
        self._js(page, "window.saved")


class Voila(Server):
    "Voila of this environment: a notebook as a page. Every load has a kernel of its own and runs all cells."

    name, ready = "voila", "/voila/tree"
    error = (
        "[data-mime-type='application/vnd.jupyter.error'], "
        "[data-mime-type='application/vnd.jupyter.stderr']:has-text('Traceback')"
    )
    # its icons come from elsewhere; a closed page may not end its kernel; a kill
    known = r"favicon|fontawesome|403.*api/shutdown|Kernel connection disconnected"

    @staticmethod
    def missing():
        return not importlib.util.find_spec("voila") and 'Voila is not installed: pip install "cellprotocols[app]"'

    def command(self):
        return [
            sys.executable,
            "-m",
            "voila",
            str(self.folder),
            "--no-browser",
            "--Voila.ip=127.0.0.1",
            f"--port={self.port}",
            "--Voila.port_retries=0",
            f"--token={self.token}",
            "--show_tracebacks=True",
        ]

    def page_url(self, name):
        return f"{self.url}/voila/render/{urllib.parse.quote(name)}?token={self.token}"

    def run_all(self, page, root=".jupyter-widgets", opened=False):
        if opened:
            self._wait(page, root)
        else:
            self.reload(page, root)

    def _shutdown(self, kernel):
        try:
            self._ask("POST", f"/voila/api/shutdown/{kernel}")
        except urllib.error.HTTPError as e:
            assert e.code == 404, e


class Widgets7(Server):
    "The classic notebook with ipywidgets 7, in Colab's versions (by tools/colab_test.py), over this checkout."

    name, ready = "widgets7", "/api/status"
    error, died = ".output_error", ".kernel-modal .btn-primary"
    # what ipywidgets 7 says when several widgets are drawn before their cell's output is in the page
    known = r"favicon|Host is not attached"
    own_env = dict(PYTHONPATH=str(ROOT))

    @staticmethod
    def missing():
        return not (COLAB / "bin" / "python").exists() and "no environment with Colab's versions: make colab-env"

    def command(self):
        return [
            str(COLAB / "bin" / "python"),
            "-m",
            "notebook",
            "--allow-root",
            "--no-browser",
            "--no-mathjax",
            "--NotebookApp.ip=127.0.0.1",
            f"--NotebookApp.port={self.port}",
            "--NotebookApp.port_retries=0",
            f"--NotebookApp.token={self.token}",
            f"--NotebookApp.notebook_dir={self.folder}",
        ]

    def page_url(self, name):
        return f"{self.url}/notebooks/{urllib.parse.quote(name)}?token={self.token}"

    def run_all(self, page, root=".jupyter-widgets", opened=False):
        self._js(
            page,
            "(n => n?._fully_loaded && n.kernel?.is_connected() && n.kernel.info_reply?.protocol_version && "
            "!n.kernel_busy)(window.Jupyter?.notebook)",
        )
        page.evaluate("Jupyter.notebook.execute_all_cells()")
        self._js(page, "!document.querySelector('.code_cell.running')")
        self._wait(page, root)

    def save(self, page):
        page.evaluate(
            "() => { window.saved = false; Jupyter.notebook.save_notebook().then(() => window.saved = true) }"
        )
        self._js(page, "window.saved")


def start(name, folder):
    "Start the front end of this name (`lab`, `voila`, `widgets7`) on a folder, or skip with the line that installs it."
    kind = {k.name: k for k in (Lab, Voila, Widgets7)}[name]
    if why := kind.missing():
        pytest.skip(why)
    return kind(folder)
