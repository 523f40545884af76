//! Runs docker_py.py: the Python library that Docker distributes, speaking to our daemon.
//!
//! tests/setup installs the library into `venv` of the target directory, tests/run names its interpreter in
//! `MULTI_PYTHON`. Where it is missing the test says so; under `CI=true` it fails.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::daemon::Daemon;
use support::{images, output, text};

/// The interpreter that has the package `docker`.
fn interpreter() -> Result<PathBuf, String> {
    let venv = "venv/bin/python";
    // The scratch place that cargo gives us is in the target directory or in that of a platform in it.
    let mut places = Path::new(env!("CARGO_TARGET_TMPDIR")).ancestors().skip(1).take(2);
    let python = match std::env::var_os("MULTI_PYTHON") {
        Some(path) => PathBuf::from(path),
        None => {
            places.find(|dir| dir.join(venv).exists()).unwrap_or(Path::new("target")).join(venv)
        }
    };
    let tried = Command::new(&python).args(["-c", "import docker"]).output();
    match tried {
        Ok(tried) if tried.status.success() => Ok(python),
        Ok(tried) => Err(format!("{}: {}", python.display(), text(&tried.stderr).trim())),
        Err(e) => Err(format!("{}: {e}", python.display())),
    }
}

#[test]
fn docker_py_works_as_with_docker() {
    let python = match interpreter() {
        Ok(python) => python,
        Err(reason) => {
            let told = format!("docker-py is missing; tests/setup installs it: {reason}");
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{told}");
            eprintln!("skipped: {told}");
            return;
        }
    };
    let daemon = Daemon::start();
    let registry = daemon.registry();
    registry.push(&images::busybox(), "busybox:1");
    let image = registry.name("busybox:1");
    daemon.docker(&["pull", "-q", &image]);
    let dir = daemon.dir().join("shared");
    std::fs::create_dir(&dir).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker_py.py");
    let mut command = daemon.namespace().command(python);
    command.arg("-B").arg(script).env("DOCKER_HOST", daemon.host()).env("TEST_IMAGE", image);
    command.env("TEST_DIR", dir).env("HOME", daemon.dir()).env_remove("DOCKER_TLS_VERIFY");
    let ran = output(&mut command);
    assert!(
        ran.status.success(),
        "{}\n{}\nthe daemon said:\n{}",
        ran.status,
        text(&ran.stderr),
        daemon.log()
    );
    assert!(text(&ran.stderr).contains("OK\n"), "{}", text(&ran.stderr));
    assert_eq!(daemon.docker(&["ps", "-aq"]), "");
    daemon.stop();
}
