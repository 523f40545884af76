//! Platforms of images: which of the images of an index fits this machine.
//!
//! Spec: OCI image-spec image-index.md, section "Platform Variants"; names of architectures are Go's.

use std::fmt;

use crate::base::{Error, Result};

crate::wire! {
    /// What an image runs on, as descriptors and image configs write it.
    pub struct Platform {
        "architecture" keep architecture: String,
        "os" keep os: String,
        "os.version" omit os_version: String,
        "variant" omit variant: String,
    }
}

impl Platform {
    /// A platform from its names, in normal form.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Platform {
        let (architecture, variant) = normal(architecture, variant);
        Platform { os: os.to_ascii_lowercase(), architecture, variant, ..Platform::default() }
    }

    /// The platform of this machine.
    pub fn host() -> Platform {
        Platform::new("linux", std::env::consts::ARCH, "")
    }

    /// Parses `os/architecture[/variant]`; a single word is an operating system or an architecture,
    /// completed from this machine.
    ///
    /// # Errors
    /// `InvalidParameter` that quotes the text.
    pub fn parse(text: &str) -> Result<Platform> {
        let word = |w: &str| {
            !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|p| word(p)) {
            return Err(Error::invalid(format_args!(
                "\"{text}\" is an invalid component of platform specifier \"{text}\": \
                 platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
            )));
        }
        match parts.as_slice() {
            [os] if is_os(&os.to_ascii_lowercase()) => {
                let host = Platform::host();
                Ok(Platform::new(os, &host.architecture, &host.variant))
            }
            [architecture] if is_architecture(architecture) => {
                Ok(Platform::new("linux", architecture, ""))
            }
            [os, architecture] => Ok(Platform::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Platform::new(os, architecture, variant)),
            _ => Err(Error::invalid(format_args!(
                "\"{text}\": cannot parse platform specifier: invalid argument"
            ))),
        }
    }

    /// Whether an image for `image` is one for this platform, in the given order of preference: the
    /// lower the better, `None` if it does not run here.
    ///
    /// A 64-bit x86 runs 32-bit images, an ARM runs the images of older variants.
    pub fn rank(&self, image: &Platform) -> Option<usize> {
        let image = Platform::new(&image.os, &image.architecture, &image.variant);
        self.accepted().iter().position(|p| {
            (&p.os, &p.architecture, &p.variant) == (&image.os, &image.architecture, &image.variant)
        })
    }

    /// This platform and those whose images run on it, best first.
    fn accepted(&self) -> Vec<Platform> {
        let older = |from: u32| (5..=from).rev().map(|v| ("arm".to_string(), format!("v{v}")));
        let level = |default: u32| {
            self.variant.strip_prefix('v').and_then(|v| v.parse().ok()).unwrap_or(default)
        };
        let mut list = vec![(self.architecture.clone(), self.variant.clone())];
        match self.architecture.as_str() {
            "amd64" => {
                if !self.variant.is_empty() {
                    list.extend((2..level(1)).rev().map(|v| ("amd64".into(), format!("v{v}"))));
                    list.push(("amd64".into(), String::new()));
                }
                list.push(("386".into(), String::new()));
            }
            // A 64-bit ARM can run 32-bit images too; Docker takes them when there is no better one.
            "arm64" => {
                list.extend(older(8));
            }
            "arm" => list.extend(older(level(7).min(8)).skip(1)),
            _ => {}
        }
        list.into_iter()
            .map(|(architecture, variant)| Platform {
                os: self.os.clone(),
                architecture,
                variant,
                ..Platform::default()
            })
            .collect()
    }
}

impl fmt::Display for Platform {
    /// `os/architecture[/variant]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

fn is_os(word: &str) -> bool {
    matches!(word, "linux" | "windows" | "darwin" | "freebsd" | "netbsd" | "openbsd" | "solaris")
}

fn is_architecture(word: &str) -> bool {
    let (architecture, _) = normal(word, "");
    [
        "amd64", "386", "arm64", "arm", "ppc64", "ppc64le", "s390x", "riscv64", "mips64",
        "mips64le", "mips", "mipsle", "loong64",
    ]
    .contains(&architecture.as_str())
}

/// The names that Go uses for what others call otherwise; the variant that goes without saying is
/// empty for amd64 and arm64, and `v7` for arm.
fn normal(architecture: &str, variant: &str) -> (String, String) {
    let (a, v) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (a, v) = match (a.as_str(), v.as_str()) {
        ("i386" | "i686" | "x86", _) => ("386", ""),
        ("386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", v) => ("arm64", v),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("loongarch64", v) => ("loong64", v),
        ("powerpc64", v) => (if cfg!(target_endian = "little") { "ppc64le" } else { "ppc64" }, v),
        (a, v) => (a, v),
    };
    (a.to_string(), v.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_become_gos() {
        for (text, normal) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm/5", "linux/arm/v5"),
            ("arm64", "linux/arm64"),
            ("linux/i386", "linux/386"),
        ] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), normal, "{text}");
        }
        for bad in ["", "linux/", "a/b/c/d", "linux/am d64", "nonsense"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_best_image_that_runs_is_ranked_first() {
        let p = |text: &str| Platform::parse(text).unwrap();
        let rank = |have: &str, image: &str| p(have).rank(&p(image));
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/386"), Some(1));
        assert_eq!(rank("linux/amd64", "linux/amd64/v3"), None);
        assert!(rank("linux/amd64/v3", "linux/amd64/v2") < rank("linux/amd64/v3", "linux/amd64"));
        assert_eq!(rank("linux/amd64", "linux/arm64"), None);
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
        assert_eq!(rank("linux/arm64", "linux/arm64/v8"), Some(0));
        assert!(rank("linux/arm64", "linux/arm/v7") < rank("linux/arm64", "linux/arm/v6"));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/arm/v7", "linux/arm/v5"), Some(2));
    }
}
