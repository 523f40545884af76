//! Shapes that Go's JSON has and Rust's types do not: sets, words, empty objects.

use std::borrow::Cow;
use std::collections::BTreeMap;

use miniserde::Serialize;
use miniserde::de::{Map, Seq, Visitor};
use miniserde::ser::Fragment;

/// Labels, options and other plain text maps.
pub type TextMap = BTreeMap<String, String>;

/// A set as Go writes one: an object whose members are all `{}`.
pub type Set = BTreeMap<String, Nothing>;

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
