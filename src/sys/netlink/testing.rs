//! A network namespace of its own for every test, so that nothing of the machine is touched.

use nix::sched::{CloneFlags, unshare};

/// Runs `body` on a thread in a new network and mount namespace; both vanish with the thread.
pub(crate) fn in_netns(body: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        // Mounts made by a test must not travel to the machine's own namespace.
        let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
        body();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
