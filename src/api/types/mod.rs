//! What travels: the structs of every request and response body, with Docker's names.
//!
//! Daemon and client share them. Keys stand in the order in which dockerd writes them. A list or map
//! that dockerd writes as `null` when it was never set is an `Option` where a client can see the
//! difference; all others are written as `[]` and `{}`.
//!
//! Spec: Docker Engine API 1.51 (api/swagger.yaml).

pub mod auth;
pub mod config;
pub mod container;
pub mod events;
pub mod exec;
pub mod host;
pub mod image;
pub mod mount;
pub mod network;
pub mod progress;
pub mod system;
pub mod update;
pub mod volume;

use std::borrow::Cow;
use std::collections::BTreeMap;

use miniserde::Serialize;
use miniserde::de::{Map, Seq, Visitor};
use miniserde::ser::Fragment;

use crate::wire;

/// Labels, options and other plain text maps.
pub type TextMap = BTreeMap<String, String>;

/// A set as Go writes one: an object whose members are all `{}`.
pub type Set = BTreeMap<String, Nothing>;

wire! {
    /// The body of every error answer.
    pub struct ErrorResponse { "message" keep message: String }
}

wire! {
    /// The answer of calls that make one object.
    pub struct IdResponse { "Id" keep id: String }
}

wire! {
    /// An OCI content descriptor.
    pub struct Descriptor {
        "mediaType" keep media_type: String,
        "digest" keep digest: String,
        "size" keep size: i64,
        "urls" omit urls: Vec<String>,
        "annotations" omit annotations: TextMap,
        "platform" omit platform: Option<Platform>,
    }
}

wire! {
    /// An OCI platform.
    pub struct Platform {
        "architecture" keep architecture: String,
        "os" keep os: String,
        "os.version" omit os_version: String,
        "os.features" omit os_features: Vec<String>,
        "variant" omit variant: String,
    }
}

/// The empty object `{}`; whatever an incoming object holds is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nothing;

/// A list of words that may also be written as one string, which is then its only element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl std::ops::Deref for Words {
    type Target = Vec<String>;
    fn deref(&self) -> &Vec<String> {
        &self.0
    }
}

impl From<Vec<String>> for Words {
    fn from(list: Vec<String>) -> Words {
        Words(list)
    }
}

const _: () = {
    miniserde::make_place!(Place);

    struct Ignore<'a>(&'a mut Option<Nothing>);

    impl Map for Ignore<'_> {
        fn key(&mut self, _: &str) -> miniserde::Result<&mut dyn Visitor> {
            Ok(<dyn Visitor>::ignore())
        }
        fn finish(&mut self) -> miniserde::Result<()> {
            *self.0 = Some(Nothing);
            Ok(())
        }
    }

    impl Visitor for Place<Nothing> {
        fn null(&mut self) -> miniserde::Result<()> {
            self.out = Some(Nothing);
            Ok(())
        }
        fn map(&mut self) -> miniserde::Result<Box<dyn Map + '_>> {
            Ok(Box::new(Ignore(&mut self.out)))
        }
    }

    impl miniserde::Deserialize for Nothing {
        fn begin(out: &mut Option<Self>) -> &mut dyn Visitor {
            Place::new(out)
        }
    }

    struct End;

    impl miniserde::ser::Map for End {
        fn next(&mut self) -> Option<(Cow<'_, str>, &dyn Serialize)> {
            None
        }
    }

    impl Serialize for Nothing {
        fn begin(&self) -> Fragment<'_> {
            Fragment::Map(Box::new(End))
        }
    }
};

const _: () = {
    miniserde::make_place!(Place);

    struct Elements<'a> {
        out: &'a mut Option<Words>,
        done: Vec<String>,
        element: Option<String>,
    }

    impl Elements<'_> {
        fn shift(&mut self) {
            self.done.extend(self.element.take());
        }
    }

    impl Seq for Elements<'_> {
        fn element(&mut self) -> miniserde::Result<&mut dyn Visitor> {
            self.shift();
            Ok(miniserde::Deserialize::begin(&mut self.element))
        }
        fn finish(&mut self) -> miniserde::Result<()> {
            self.shift();
            *self.out = Some(Words(std::mem::take(&mut self.done)));
            Ok(())
        }
    }

    impl Visitor for Place<Words> {
        fn string(&mut self, s: &str) -> miniserde::Result<()> {
            self.out = Some(Words(vec![s.to_string()]));
            Ok(())
        }
        fn seq(&mut self) -> miniserde::Result<Box<dyn Seq + '_>> {
            Ok(Box::new(Elements { out: &mut self.out, done: Vec::new(), element: None }))
        }
    }

    impl miniserde::Deserialize for Words {
        fn begin(out: &mut Option<Self>) -> &mut dyn Visitor {
            Place::new(out)
        }
    }

    impl Serialize for Words {
        fn begin(&self) -> Fragment<'_> {
            self.0.begin()
        }
    }
};
