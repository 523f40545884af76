//! What a container is made from: the image-like part (`Config`) and the body of `create`.
//!
//! Spec: Docker Engine API 1.51, ContainerConfig and POST /containers/create.

use std::borrow::Cow;

use miniserde::Serialize;
use miniserde::de::{Map, Visitor};
use miniserde::ser::Fragment;

use super::host::HostConfig;
use super::network::NetworkingConfig;
use crate::base::json::{Slot, note_field};
use crate::wire;

pub use crate::engine::model::config::{Config, HealthConfig};

/// The body of `POST /containers/create`: `Config` with two members more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CreateRequest {
    /// Absent only if the body was not an object.
    pub config: Option<Config>,
    /// `HostConfig`
    pub host_config: Option<HostConfig>,
    /// `NetworkingConfig`
    pub networking_config: Option<NetworkingConfig>,
}

wire! {
    /// The answer of `POST /containers/create`.
    pub struct CreateResponse {
        "Id" keep id: String,
        "Warnings" keep warnings: Vec<String>,
    }
}

const _: () = {
    miniserde::make_place!(Place);

    struct Members<'a> {
        config: Box<dyn Map + 'a>,
        host: Slot<HostConfig>,
        networking: Slot<NetworkingConfig>,
        host_out: &'a mut Option<HostConfig>,
        networking_out: &'a mut Option<NetworkingConfig>,
    }

    impl Map for Members<'_> {
        fn key(&mut self, key: &str) -> miniserde::Result<&mut dyn Visitor> {
            if key.eq_ignore_ascii_case("HostConfig") {
                note_field("CreateRequest", "HostConfig");
                return Ok(&mut self.host);
            }
            if key.eq_ignore_ascii_case("NetworkingConfig") {
                note_field("CreateRequest", "NetworkingConfig");
                return Ok(&mut self.networking);
            }
            self.config.key(key)
        }
        fn finish(&mut self) -> miniserde::Result<()> {
            *self.host_out = self.host.0.take();
            *self.networking_out = self.networking.0.take();
            self.config.finish()
        }
    }

    impl Visitor for Place<CreateRequest> {
        fn map(&mut self) -> miniserde::Result<Box<dyn Map + '_>> {
            let out = self.out.insert(CreateRequest::default());
            Ok(Box::new(Members {
                config: miniserde::Deserialize::begin(&mut out.config).map()?,
                host: Slot(None),
                networking: Slot(None),
                host_out: &mut out.host_config,
                networking_out: &mut out.networking_config,
            }))
        }
    }

    impl miniserde::Deserialize for CreateRequest {
        fn begin(out: &mut Option<Self>) -> &mut dyn Visitor {
            Place::new(out)
        }
    }

    struct Stream<'a> {
        request: &'a CreateRequest,
        step: u8,
        rest: Option<Box<dyn miniserde::ser::Map + 'a>>,
    }

    impl miniserde::ser::Map for Stream<'_> {
        fn next(&mut self) -> Option<(Cow<'_, str>, &dyn Serialize)> {
            self.step = self.step.saturating_add(1);
            if self.step == 1 {
                if let Some(host) = &self.request.host_config {
                    return Some((Cow::Borrowed("HostConfig"), host));
                }
                self.step = 2;
            }
            if self.step == 2
                && let Some(networking) = &self.request.networking_config
            {
                return Some((Cow::Borrowed("NetworkingConfig"), networking));
            }
            self.rest.as_mut()?.next()
        }
    }

    impl Serialize for CreateRequest {
        fn begin(&self) -> Fragment<'_> {
            let rest = self.config.as_ref().and_then(|config| match config.begin() {
                Fragment::Map(map) => Some(map),
                _ => None,
            });
            Fragment::Map(Box::new(Stream { request: self, step: 0, rest }))
        }
    }
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json::{parse, to_string};

    #[test]
    fn a_create_body_is_config_with_two_members_more() {
        let request: CreateRequest = parse(
            br#"{"image":"busybox","Cmd":"true","Entrypoint":["a","b"],"Env":null,
                "hostconfig":{"Memory":67108864,"PortBindings":{"80/tcp":null}},"NetworkingConfig":{}}"#,
        )
        .unwrap();
        let config = request.config.clone().unwrap();
        assert_eq!(config.image, "busybox");
        assert_eq!(config.cmd.as_ref().unwrap().0, ["true"]);
        assert_eq!(config.entrypoint.as_ref().unwrap().0, ["a", "b"]);
        assert_eq!(request.host_config.as_ref().unwrap().memory, 64 << 20);
        let again: CreateRequest = parse(to_string(&request).as_bytes()).unwrap();
        assert_eq!(again, request);
    }

    #[test]
    fn only_an_object_is_a_create_body() {
        assert!(parse::<CreateRequest>(b"[]").is_err());
        assert!(parse::<CreateRequest>(b"{}").unwrap().host_config.is_none());
        let e = parse::<CreateRequest>(br#"{"HostConfig":{"Memory":"64m"}}"#).unwrap_err();
        assert!(e.to_string().contains("HostConfig.Memory"), "{e}");
        let e = parse::<CreateRequest>(br#"{"Tty":"yes"}"#).unwrap_err();
        assert!(e.to_string().contains("Config.Tty"), "{e}");
        for member in ["HostConfig", "NetworkingConfig"] {
            let body = format!(r#"{{"Image":"x","{member}":[]}}"#);
            let e = parse::<CreateRequest>(body.as_bytes()).unwrap_err();
            assert!(e.to_string().contains(&format!("CreateRequest.{member}")), "{e}");
        }
    }

    #[test]
    fn unset_parts_are_null_as_docker_writes_them() {
        let text = to_string(&Config::default());
        for part in [r#""Cmd":null"#, r#""Volumes":null"#, r#""OnBuild":null"#, r#""Env":null"#] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("Healthcheck"));
    }
}
