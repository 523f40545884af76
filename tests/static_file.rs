//! The executable needs no other file: no interpreter, no library, no name service modules.
//!
//! The release file is `$MULTI_BINARY`, or what `cargo build --release` makes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Functions that make a static glibc load modules of the host. They are looked for in the executable
/// with symbols that this test was built with: the linker keeps only what is called from somewhere.
const NAME_SERVICE: &[&str] = &[
    "getaddrinfo",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_r",
    "getgrgid",
    "getgrgid_r",
    "getgrnam",
    "getgrnam_r",
    "getgrouplist",
    "getnameinfo",
    "getpwnam",
    "getpwnam_r",
    "getpwuid",
    "getpwuid_r",
    "getservbyname",
    "initgroups",
];

const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;
const SHT_SYMTAB: u64 = 2;

/// A 64-bit little-endian ELF file.
struct Elf(Vec<u8>);

impl Elf {
    fn open(path: &PathBuf) -> Elf {
        let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(&bytes[..6], b"\x7fELF\x02\x01", "{}", path.display());
        Elf(bytes)
    }

    /// The number of `size` bytes at `at`.
    fn number(&self, at: u64, size: usize) -> u64 {
        let at = usize::try_from(at).unwrap();
        self.0[at..at + size].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
    }

    /// Type, offset and length of every segment.
    fn segments(&self) -> Vec<(u64, u64, u64)> {
        let (table, size, count) = (self.number(32, 8), self.number(54, 2), self.number(56, 2));
        let segment = |i| {
            let at = table + i * size;
            (self.number(at, 4), self.number(at + 8, 8), self.number(at + 32, 8))
        };
        (0..count).map(segment).collect()
    }

    /// How many libraries the file asks for.
    fn needed(&self) -> usize {
        let dynamic = self.segments().into_iter().filter(|(kind, _, _)| *kind == PT_DYNAMIC);
        dynamic
            .flat_map(|(_, start, length)| (start..start + length).step_by(16))
            .filter(|at| self.number(*at, 8) == DT_NEEDED)
            .count()
    }

    /// The names of the functions and data that the file defines; empty if it was stripped.
    fn symbols(&self) -> Vec<String> {
        let (table, size, count) = (self.number(40, 8), self.number(58, 2), self.number(60, 2));
        let section = |i: u64| table + i * size;
        let mut names = Vec::new();
        for at in (0..count).map(section).filter(|at| self.number(at + 4, 4) == SHT_SYMTAB) {
            let (start, length) = (self.number(at + 24, 8), self.number(at + 32, 8));
            let strings = self.number(section(self.number(at + 40, 4)) + 24, 8);
            for symbol in (start..start + length).step_by(24) {
                let defined = self.number(symbol + 6, 2) != 0;
                let from = usize::try_from(strings + self.number(symbol, 4)).unwrap();
                let text: Vec<u8> =
                    self.0[from..].iter().take_while(|b| **b != 0).copied().collect();
                if defined {
                    names.push(String::from_utf8_lossy(&text).into_owned());
                }
            }
        }
        names
    }
}

fn release() -> PathBuf {
    if let Some(path) = std::env::var_os("MULTI_BINARY") {
        return path.into();
    }
    // `target/<triple>/debug/multi` beside `target/<triple>/release/multi`.
    let debug = PathBuf::from(env!("CARGO_BIN_EXE_multi"));
    let file = debug.parent().unwrap().with_file_name("release").join("multi");
    if !file.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--release", "--bin", "multi"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success(), "cargo build --release failed");
    }
    file
}

#[test]
fn the_release_file_needs_no_interpreter_and_no_library() {
    let elf = Elf::open(&release());
    let interpreter = elf.segments().iter().any(|(kind, _, _)| *kind == PT_INTERP);
    assert!(!interpreter, "the file asks for a dynamic loader");
    assert_eq!(elf.needed(), 0, "the file asks for libraries");
}

#[test]
fn no_name_service_function_is_linked() {
    let symbols = Elf::open(&env!("CARGO_BIN_EXE_multi").into()).symbols();
    let has = |name: &str| symbols.iter().any(|s| s == name);
    assert!(has("main") && has("write"), "the symbols were not read");
    let linked: Vec<_> = NAME_SERVICE.iter().filter(|name| has(name)).collect();
    assert!(linked.is_empty(), "linked: {linked:?}");
}

#[test]
fn a_dynamic_file_would_be_noticed() {
    // Whatever shell the machine has is dynamic, or the machine is static and nothing is learnt.
    let shell = fs::canonicalize("/bin/sh").unwrap();
    let told = Command::new("ldd").arg(&shell).output();
    let dynamic = told.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("libc.so"));
    assert_eq!(Elf::open(&shell).needed() > 0, dynamic);
}
