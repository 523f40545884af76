//! The `wire!` macro: structs that travel as JSON, at a third of the code size of derived serde.

use std::collections::BTreeMap;

use miniserde::de::{Deserialize, Map, Seq, Visitor};

use super::{FIELD, FOUND};
use crate::base::time::Timestamp;

/// Go's semantics for one field: `null` leaves the zero value; a value of the wrong type is noted.
#[repr(transparent)]
pub struct Slot<T>(pub Option<T>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot(None)
    }
}

fn found<R>(kind: &'static str, result: miniserde::Result<R>) -> miniserde::Result<R> {
    if result.is_err() && FOUND.get().is_empty() {
        FOUND.set(kind);
    }
    result
}

impl<T: Deserialize> Visitor for Slot<T> {
    fn null(&mut self) -> miniserde::Result<()> {
        Ok(())
    }
    fn boolean(&mut self, b: bool) -> miniserde::Result<()> {
        found("boolean", T::begin(&mut self.0).boolean(b))
    }
    fn string(&mut self, s: &str) -> miniserde::Result<()> {
        found("string", T::begin(&mut self.0).string(s))
    }
    fn negative(&mut self, n: i64) -> miniserde::Result<()> {
        found("number", T::begin(&mut self.0).negative(n))
    }
    fn nonnegative(&mut self, n: u64) -> miniserde::Result<()> {
        found("number", T::begin(&mut self.0).nonnegative(n))
    }
    fn float(&mut self, n: f64) -> miniserde::Result<()> {
        found("number", T::begin(&mut self.0).float(n))
    }
    fn seq(&mut self) -> miniserde::Result<Box<dyn Seq + '_>> {
        found("array", T::begin(&mut self.0).seq())
    }
    fn map(&mut self) -> miniserde::Result<Box<dyn Map + '_>> {
        found("object", T::begin(&mut self.0).map())
    }
}

/// Go's `omitempty`.
pub trait Empty {
    /// Whether the value is left out of an `omit` field.
    fn is_zero(&self) -> bool;
}

macro_rules! empty_numbers {
    ($($t:ty)*) => { $(impl Empty for $t { fn is_zero(&self) -> bool { *self == (0 as $t) } })* };
}
empty_numbers!(i8 i16 i32 i64 isize u8 u16 u32 u64 usize f64);

impl Empty for bool {
    fn is_zero(&self) -> bool {
        !*self
    }
}
impl Empty for String {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}
impl<T> Empty for Vec<T> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}
impl<V> Empty for BTreeMap<String, V> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}
impl<T> Empty for Option<T> {
    fn is_zero(&self) -> bool {
        self.is_none()
    }
}
impl Empty for Timestamp {
    fn is_zero(&self) -> bool {
        *self == Timestamp::ZERO
    }
}

/// Position of `key` in `keys`: exact first, then without regard to ASCII case, as Go does.
pub fn key_index(keys: &[&str], key: &str) -> usize {
    keys.iter()
        .position(|k| *k == key)
        .or_else(|| keys.iter().position(|k| k.eq_ignore_ascii_case(key)))
        .unwrap_or(usize::MAX)
}

/// Remembers which field is being filled, for the error message.
pub fn note_field(owner: &'static str, field: &'static str) {
    FIELD.set((owner, field));
}

mod timestamp {
    use super::*;
    use miniserde::Serialize;
    use miniserde::ser::Fragment;

    miniserde::make_place!(Place);

    impl Visitor for Place<Timestamp> {
        fn string(&mut self, s: &str) -> miniserde::Result<()> {
            let t = if s.is_empty() { Ok(Timestamp::ZERO) } else { Timestamp::parse(s) };
            self.out = Some(t.map_err(|_| miniserde::Error)?);
            Ok(())
        }
    }

    impl Deserialize for Timestamp {
        fn begin(out: &mut Option<Self>) -> &mut dyn Visitor {
            Place::new(out)
        }
    }

    impl Serialize for Timestamp {
        fn begin(&self) -> Fragment<'_> {
            Fragment::Str(std::borrow::Cow::Owned(self.to_string()))
        }
    }
}

/// Declares a struct that reads and writes JSON with Go's habits; see the module's documentation.
///
/// Each field is `"Key" mode name: Type`, where mode is `keep` (always written) or `omit` (left out
/// when empty). The struct derives `Clone`, `Debug`, `Default` and `PartialEq`.
#[macro_export]
macro_rules! wire {
    (@omit omit $e:expr) => { $crate::base::json::Empty::is_zero($e) };
    (@omit keep $e:expr) => { false };
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$fmeta:meta])* $key:literal $mode:ident $f:ident : $t:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[allow(unreachable_pub)]
        #[derive(Clone, Debug, Default, PartialEq)]
        $vis struct $name { $($(#[$fmeta])* #[doc = concat!("`", $key, "`")] pub $f: $t),* }
        const _: () = {
            use miniserde::de::{Map, Visitor};
            use miniserde::ser::Fragment;
            use $crate::base::json::Slot;
            miniserde::make_place!(Place);
            static KEYS: &[&str] = &[$($key),*];
            impl miniserde::Deserialize for $name {
                fn begin(out: &mut Option<Self>) -> &mut dyn Visitor {
                    Place::new(out)
                }
            }
            impl Visitor for Place<$name> {
                fn null(&mut self) -> miniserde::Result<()> {
                    self.out = Some(Default::default());
                    Ok(())
                }
                fn map(&mut self) -> miniserde::Result<Box<dyn Map + '_>> {
                    Ok(Box::new(WireState { $($f: Slot(None),)* __out: &mut self.out }))
                }
            }
            struct WireState<'a> { $($f: Slot<$t>,)* __out: &'a mut Option<$name> }
            impl Map for WireState<'_> {
                #[allow(unused_assignments, unused_mut, unused_variables)]
                fn key(&mut self, k: &str) -> miniserde::Result<&mut dyn Visitor> {
                    let i = $crate::base::json::key_index(KEYS, k);
                    let mut n = 0usize;
                    $( if i == n {
                        $crate::base::json::note_field(stringify!($name), $key);
                        return Ok(&mut self.$f);
                    } n += 1; )*
                    Ok(<dyn Visitor>::ignore())
                }
                fn finish(&mut self) -> miniserde::Result<()> {
                    *self.__out = Some($name { $($f: self.$f.0.take().unwrap_or_default()),* });
                    Ok(())
                }
            }
            struct WireStream<'a> { v: &'a $name, i: usize }
            impl<'a> miniserde::ser::Map for WireStream<'a> {
                #[allow(unused_assignments, unused_mut, unused_variables)]
                fn next(&mut self) -> Option<(std::borrow::Cow<'_, str>, &dyn miniserde::Serialize)> {
                    loop {
                        let i = self.i;
                        self.i += 1;
                        let mut n = 0usize;
                        $( if i == n {
                            if $crate::wire!(@omit $mode &self.v.$f) { continue; }
                            return Some((std::borrow::Cow::Borrowed($key), &self.v.$f));
                        } n += 1; )*
                        return None;
                    }
                }
            }
            impl miniserde::Serialize for $name {
                fn begin(&self) -> Fragment<'_> {
                    Fragment::Map(Box::new(WireStream { v: self, i: 0 }))
                }
            }
        };
    };
}
