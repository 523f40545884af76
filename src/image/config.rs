//! The configuration of an image, in the forms of Docker and of OCI, which share their keys.
//!
//! The bytes of a configuration are its identity: the image id is their digest. They are therefore
//! kept as they came and never written anew; what is here is a reading of them.
//!
//! Spec: OCI image-spec config.md; Docker image-spec v1.2; moby `image.Image`.

use crate::base::digest::{Digest, Hasher};
use crate::base::json::{self, Set, TextMap, Words};
use crate::base::time::Timestamp;
use crate::base::{At, Error, Result};
use crate::wire;

pub use crate::registry::platform::Platform;

wire! {
    /// How a container's health is checked. Durations are nanoseconds.
    pub struct HealthConfig {
        "Test" omit test: Vec<String>,
        "Interval" omit interval: i64,
        "Timeout" omit timeout: i64,
        "StartPeriod" omit start_period: i64,
        "StartInterval" omit start_interval: i64,
        "Retries" omit retries: i64,
    }
}

wire! {
    /// The part of a container's configuration that an image can give too.
    pub struct Config {
        "Hostname" keep hostname: String,
        "Domainname" keep domainname: String,
        "User" keep user: String,
        "AttachStdin" keep attach_stdin: bool,
        "AttachStdout" keep attach_stdout: bool,
        "AttachStderr" keep attach_stderr: bool,
        "ExposedPorts" omit exposed_ports: Set,
        "Tty" keep tty: bool,
        "OpenStdin" keep open_stdin: bool,
        "StdinOnce" keep stdin_once: bool,
        "Env" keep env: Option<Vec<String>>,
        "Cmd" keep cmd: Option<Words>,
        "Healthcheck" omit healthcheck: Option<HealthConfig>,
        "ArgsEscaped" omit args_escaped: bool,
        "Image" keep image: String,
        "Volumes" keep volumes: Option<Set>,
        "WorkingDir" keep working_dir: String,
        "Entrypoint" keep entrypoint: Option<Words>,
        "NetworkDisabled" omit network_disabled: bool,
        "MacAddress" omit mac_address: String,
        "OnBuild" keep on_build: Option<Vec<String>>,
        "Labels" keep labels: Option<TextMap>,
        "StopSignal" omit stop_signal: String,
        "StopTimeout" omit stop_timeout: Option<i64>,
        "Shell" omit shell: Option<Words>,
    }
}

/// The `config` of an image: what a container made from it runs.
pub type RunConfig = Config;

wire! {
    /// One step of an image's making.
    pub struct History {
        "created" omit created: Option<Timestamp>,
        "author" omit author: String,
        "created_by" omit created_by: String,
        "comment" omit comment: String,
        "empty_layer" omit empty_layer: bool,
    }
}

wire! {
    /// The layers, as digests of their uncompressed tar streams, the lowest first.
    pub struct RootFs {
        "type" keep kind: String,
        "diff_ids" omit diff_ids: Vec<String>,
    }
}

wire! {
    /// An image's configuration.
    pub struct ImageConfig {
        "id" omit id: String,
        "parent" omit parent: String,
        "comment" omit comment: String,
        "created" omit created: Option<Timestamp>,
        "container" omit container: String,
        "container_config" omit container_config: Option<Config>,
        "docker_version" omit docker_version: String,
        "author" omit author: String,
        "config" omit config: Option<Config>,
        "architecture" omit architecture: String,
        "variant" omit variant: String,
        "os" omit os: String,
        "rootfs" omit rootfs: Option<RootFs>,
        "history" omit history: Vec<History>,
        "os.version" omit os_version: String,
        "os.features" omit os_features: Vec<String>,
    }
}

/// An image: its configuration, and the id that is the digest of it.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of the configuration's bytes.
    pub id: Digest,
    /// What was read from them.
    pub config: ImageConfig,
    /// The layers, the lowest first.
    pub diff_ids: Vec<Digest>,
    /// Length of the configuration's bytes.
    pub config_bytes: usize,
}

impl Image {
    /// Reads a configuration.
    ///
    /// # Errors
    /// `InvalidParameter` if it is not the configuration of an image that layers can make.
    pub fn parse(bytes: &[u8]) -> Result<Image> {
        let config: ImageConfig = json::parse(bytes).at("reading image configuration")?;
        let Some(rootfs) = &config.rootfs else {
            return Err(Error::invalid("invalid image JSON, no RootFS key"));
        };
        if !matches!(rootfs.kind.as_str(), "layers" | "layers+base" | "") {
            return Err(Error::invalid(format_args!("unsupported rootfs type {:?}", rootfs.kind)));
        }
        let diff_ids: Vec<Digest> =
            rootfs.diff_ids.iter().map(|d| Digest::parse(d)).collect::<Result<_>>()?;
        if config.history.iter().filter(|h| !h.empty_layer).count() > diff_ids.len() {
            return Err(Error::invalid("too many non-empty layers in History section"));
        }
        Ok(Image { id: Digest::of(bytes), config, diff_ids, config_bytes: bytes.len() })
    }

    /// The chain id of the topmost layer; `None` for an image without layers.
    pub fn chain_id(&self) -> Option<Digest> {
        chain_ids(&self.diff_ids).pop()
    }

    /// What it runs on; an old image that does not say is for this machine.
    pub fn platform(&self) -> Platform {
        let host = Platform::host();
        let or = |own: &str, host: &str| if own.is_empty() { host } else { own }.to_string();
        Platform {
            os: or(&self.config.os, &host.os),
            architecture: or(&self.config.architecture, &host.architecture),
            variant: self.config.variant.clone(),
            os_version: self.config.os_version.clone(),
        }
    }

    /// What a container made from it runs.
    pub fn run_config(&self) -> RunConfig {
        self.config.config.clone().unwrap_or_default()
    }
}

/// The chain ids of a stack of layers, the lowest first: each names a layer together with all below it.
///
/// Spec: OCI image-spec config.md, section "Layer ChainID".
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chains.push(chain_id(chains.last(), diff_id));
    }
    chains
}

/// The chain id of the layer `diff_id` on top of `parent`.
pub fn chain_id(parent: Option<&Digest>, diff_id: &Digest) -> Digest {
    let Some(parent) = parent else { return *diff_id };
    let mut hasher = Hasher::new();
    hasher.update(format!("{parent} {diff_id}").as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCI: &str = r#"{"created":"2015-10-31T22:22:56.015925234Z","architecture":"arm64","variant":"v8","os":"linux","config":{"User":"alice","ExposedPorts":{"8080/tcp":{}},"Env":["A=b"],"Entrypoint":["/bin/x"],"Cmd":"sh"},"rootfs":{"diff_ids":["sha256:c6f988f4874bb0add23a778f753c65efe992244e148a1d2ec2a8b664fb66bbd1","sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"],"type":"layers"},"history":[{"created_by":"ADD"},{"empty_layer":true},{"created_by":"RUN"}]}"#;

    #[test]
    fn an_oci_configuration_is_read() {
        let image = Image::parse(OCI.as_bytes()).unwrap();
        assert_eq!(image.platform().variant, "v8");
        let run = image.run_config();
        assert_eq!(run.user, "alice");
        assert_eq!(json::to_string(&run.cmd), r#"["sh"]"#);
        assert_eq!(image.diff_ids.len(), 2);
        assert_ne!(image.chain_id().unwrap(), image.diff_ids[1]);
    }

    #[test]
    fn chain_ids_follow_the_specification() {
        let d = |c: &str| Digest::from_hex(&c.repeat(64)).unwrap();
        let (a, b) = (d("a"), d("b"));
        let expected = Digest::of(format!("{a} {b}").as_bytes());
        assert_eq!(chain_ids(&[a, b]), vec![a, expected]);
    }

    #[test]
    fn configurations_that_layers_cannot_make_are_refused() {
        for (json, says) in [
            ("{}", "no RootFS"),
            (r#"{"rootfs":{"type":"windows"}}"#, "rootfs type"),
            (r#"{"rootfs":{"type":"layers","diff_ids":["x"]}}"#, "digest"),
            (r#"{"rootfs":{"type":"layers"},"history":[{}]}"#, "too many non-empty"),
            ("[]", "reading image configuration"),
        ] {
            let e = Image::parse(json.as_bytes()).unwrap_err();
            assert!(e.to_string().contains(says), "{json}: {e}");
        }
    }
}
