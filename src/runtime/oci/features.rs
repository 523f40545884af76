//! What this runtime can do, as data.
//!
//! Spec: OCI runtime-spec 1.2 `features.md` and `features-linux.md`.

use crate::base::json::TextMap;
use crate::runtime::rootfs;
use crate::runtime::seccomp;
use crate::runtime::spec::OCI_VERSION;
use crate::sys::caps;

crate::wire! {
    /// The whole.
    pub struct Features {
        "ociVersionMin" keep oci_version_min: String,
        "ociVersionMax" keep oci_version_max: String,
        "hooks" keep hooks: Vec<String>,
        "mountOptions" keep mount_options: Vec<String>,
        "linux" keep linux: Option<LinuxFeatures>,
        "annotations" omit annotations: TextMap,
    }
}

crate::wire! {
    /// What only Linux has.
    pub struct LinuxFeatures {
        "namespaces" keep namespaces: Vec<String>,
        "capabilities" keep capabilities: Vec<String>,
        "cgroup" keep cgroup: Option<CgroupFeatures>,
        "seccomp" keep seccomp: Option<SeccompFeatures>,
        "apparmor" keep apparmor: Option<Enabled>,
        "selinux" keep selinux: Option<Enabled>,
        "intelRdt" keep intel_rdt: Option<Enabled>,
        "mountExtensions" keep mount_extensions: Option<MountExtensions>,
    }
}

crate::wire! {
    /// Control groups.
    pub struct CgroupFeatures {
        "v1" keep v1: bool,
        "v2" keep v2: bool,
        "systemd" keep systemd: bool,
        "systemdUser" keep systemd_user: bool,
        "rdma" keep rdma: bool,
    }
}

crate::wire! {
    /// System call filters.
    pub struct SeccompFeatures {
        "enabled" keep enabled: bool,
        "actions" keep actions: Vec<String>,
        "operators" keep operators: Vec<String>,
        "archs" keep archs: Vec<String>,
        "knownFlags" keep known_flags: Vec<String>,
        "supportedFlags" keep supported_flags: Vec<String>,
    }
}

crate::wire! {
    /// Whether something is done.
    pub struct Enabled { "enabled" keep enabled: bool }
}

crate::wire! {
    /// Extensions of mounts.
    pub struct MountExtensions { "idmap" keep idmap: Option<Enabled> }
}

/// All that the code knows, whatever this kernel has.
pub fn features() -> Features {
    let words = |list: &[&str]| list.iter().map(|w| (*w).to_string()).collect::<Vec<_>>();
    let enabled = |enabled| Some(Enabled { enabled });
    let linux = LinuxFeatures {
        namespaces: words(&["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]),
        capabilities: caps::Set::NAMED.names(),
        cgroup: Some(CgroupFeatures {
            v1: true,
            v2: true,
            rdma: true,
            ..CgroupFeatures::default()
        }),
        seccomp: Some(SeccompFeatures {
            enabled: true,
            actions: words(seccomp::ACTIONS),
            operators: words(seccomp::OPERATORS),
            archs: seccomp::architectures(),
            known_flags: words(seccomp::FLAGS),
            supported_flags: words(seccomp::FLAGS),
        }),
        apparmor: enabled(true),
        selinux: enabled(true),
        intel_rdt: enabled(false),
        mount_extensions: Some(MountExtensions { idmap: enabled(true) }),
    };
    Features {
        oci_version_min: "1.0.0".into(),
        oci_version_max: OCI_VERSION.into(),
        hooks: words(&[
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ]),
        mount_options: rootfs::option_words(),
        linux: Some(linux),
        annotations: TextMap::new(),
    }
}
