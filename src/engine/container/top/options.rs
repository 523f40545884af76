//! The options of `ps` that `docker top` takes: which columns, in which order.
//!
//! The processes are always those of the container, so options that choose processes choose nothing here.
//! Options with a dash, BSD options without one, and long ones may be mixed, as ps allows.
//!
//! Spec: ps(1) of procps; moby `daemon/top_unix.go` (what is refused, and its texts).

use super::columns::{self, Column};
use crate::base::{Error, Result};

/// What is to be shown.
#[derive(Default)]
pub(super) struct Options {
    /// Titles and columns.
    pub(super) columns: Vec<(String, &'static Column)>,
    /// Columns to sort by, the first one first; true is backwards.
    pub(super) order: Vec<(&'static Column, bool)>,
    /// Show children below their parents.
    pub(super) forest: bool,
    /// Show only programs of these names.
    pub(super) names: Vec<String>,
}

/// The fixed formats: names of columns, with other titles after an equals sign.
const DEFAULT: &str = "pid tname time :comm";
const FULL: &str = ":uid pid ppid c :stime tname time cmd";
const EXTRA_FULL: &str = ":uid pid ppid c sz rss psr :stime tname time cmd";
const LONG: &str = "f s uid pid ppid c opri ni addr sz wchan tname time :comm";
const LONG_Y: &str = "s uid pid ppid c opri ni rss sz wchan tname time :comm";
const JOBS: &str = "pid pgid sid tname time :comm";
const BSD: &str = "pid tname stat bsdtime args";
const BSD_USER: &str = "user pid %cpu %mem vsz rss tname stat start_time bsdtime args";
const BSD_LONG: &str = "f uid pid ppid pri ni vsz rss wchan stat tname bsdtime args";
const BSD_JOBS: &str = "ppid pid pgid sid tname tpgid stat uid bsdtime args";

/// Reads the options; without any they are `-ef`.
///
/// # Errors
/// `InvalidParameter` with Docker's texts: no column with the title PID, another column with that title,
/// or an option that is not known here.
pub(super) fn parse(text: &str) -> Result<Options> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let words = if words.is_empty() { vec!["-ef"] } else { words };
    check_titles(&words)?;
    let mut options = Options::default();
    let mut letters = Letters::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            long_option(long, &mut words, &mut options)?;
            continue;
        }
        let (cluster, dashed) = word.strip_prefix('-').map_or((word, false), |rest| (rest, true));
        for (at, letter) in cluster.char_indices() {
            let rest = &cluster[at + letter.len_utf8()..];
            // The value is the rest of the word, or the next word.
            let mut value = || if rest.is_empty() { words.next() } else { Some(rest) };
            match (letter, dashed) {
                ('o', _) | ('O', true) => {
                    let list = value().ok_or_else(|| ps("format specification must follow -o"))?;
                    // Lists with commas may go on in the next words.
                    add_columns(list, &mut options.columns)?;
                    break;
                }
                ('C', true) => {
                    let list = value().ok_or_else(|| ps("list of command names must follow -C"))?;
                    options.names.extend(list.split(',').map(String::from));
                    break;
                }
                ('k', false) => {
                    let list =
                        value().ok_or_else(|| ps("long sort specification must follow 'k'"))?;
                    sort_by(list, &mut options)?;
                    break;
                }
                _ => letters.take(letter, dashed, &mut options).ok_or_else(|| {
                    ps(&format!("unsupported option (no support here for {letter:?} in {word:?})"))
                })?,
            }
        }
    }
    if options.columns.is_empty() {
        add_columns(letters.format(), &mut options.columns)?;
    }
    if letters.label {
        add_columns("label", &mut options.columns)?;
        options.columns.rotate_right(1);
    }
    if !options.columns.iter().any(|(title, _)| title == "PID") {
        return Err(Error::invalid("Couldn't find PID field in ps output"));
    }
    Ok(options)
}

/// The letters that choose a format.
#[derive(Default)]
struct Letters {
    full: bool,
    extra: bool,
    long: bool,
    without_flags: bool,
    jobs: bool,
    bsd: bool,
    bsd_user: bool,
    bsd_long: bool,
    bsd_jobs: bool,
    label: bool,
}

impl Letters {
    /// Takes one letter in; `None` if it means nothing here.
    fn take(&mut self, letter: char, dashed: bool, options: &mut Options) -> Option<()> {
        match (letter, dashed) {
            // Which processes, which is not asked here, and how wide.
            ('e' | 'A' | 'a' | 'd' | 'N' | 'w', true) => {}
            ('a' | 'g' | 'r' | 'w' | 'n', false) => self.bsd = true,
            ('f', true) => self.full = true,
            ('F', true) => self.extra = true,
            ('l', true) => self.long = true,
            ('y', true) => self.without_flags = true,
            ('j', true) => self.jobs = true,
            ('H', true) => options.forest = true,
            ('Z', true) | ('M', true) => self.label = true,
            ('Z', false) => (self.bsd, self.label) = (true, true),
            ('x', _) => self.bsd = true,
            ('f', false) => (self.bsd, options.forest) = (true, true),
            ('l', false) => (self.bsd, self.bsd_long) = (true, true),
            ('j', false) => (self.bsd, self.bsd_jobs) = (true, true),
            // `-aux` is what people write for `aux`.
            ('u', _) => (self.bsd, self.bsd_user) = (true, true),
            _ => return None,
        }
        Some(())
    }

    fn format(&self) -> &'static str {
        match self {
            Letters { bsd_user: true, .. } => BSD_USER,
            Letters { bsd_long: true, .. } => BSD_LONG,
            Letters { bsd_jobs: true, .. } => BSD_JOBS,
            Letters { extra: true, .. } => EXTRA_FULL,
            Letters { long: true, without_flags: true, .. } => LONG_Y,
            Letters { long: true, .. } => LONG,
            Letters { full: true, .. } => FULL,
            Letters { jobs: true, .. } => JOBS,
            Letters { bsd: true, .. } => BSD,
            _ => DEFAULT,
        }
    }
}

fn long_option<'a>(
    option: &'a str,
    words: &mut dyn Iterator<Item = &'a str>,
    options: &mut Options,
) -> Result<()> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    match name {
        "forest" => options.forest = true,
        "format" => {
            let list = value.or_else(|| words.next());
            add_columns(list.unwrap_or_default(), &mut options.columns)?;
        }
        "sort" => {
            let list = value.or_else(|| words.next());
            sort_by(list.unwrap_or_default(), options)?;
        }
        // Without titles no column can be found to be the process id.
        "no-headers" | "no-heading" | "noheader" | "noheaders" | "help" | "version" => {
            return Err(Error::invalid("Couldn't find PID field in ps output"));
        }
        "headers" | "cumulative" | "deselect" => {}
        "columns" | "cols" | "width" | "rows" | "lines" => {
            if value.is_none() {
                words.next();
            }
        }
        _ => return Err(ps("unknown gnu long option")),
    }
    Ok(())
}

/// `pid,comm=PROGRAM,user:20`; a title goes on to the end of the word.
fn add_columns(list: &str, columns: &mut Vec<(String, &'static Column)>) -> Result<()> {
    let (names, title) = match list.split_once('=') {
        Some((names, title)) => (names, Some(title)),
        None => (list, None),
    };
    let first_new = columns.len();
    for name in names.split([',', ' ']).filter(|name| !name.is_empty()) {
        let (name, _width) =
            name.split_once(':').filter(|(n, _)| !n.is_empty()).unwrap_or((name, ""));
        let column = columns::find(name).ok_or_else(|| unknown(name))?;
        columns.push((column.title.to_string(), column));
    }
    if let (Some(title), Some((last, _))) = (title, columns[first_new..].last_mut()) {
        *last = title.to_string();
    }
    Ok(())
}

fn sort_by(list: &str, options: &mut Options) -> Result<()> {
    for key in list.split(',').filter(|key| !key.is_empty()) {
        let backwards = key.starts_with('-');
        let name = key.trim_start_matches(['-', '+']);
        let column = columns::find(name).ok_or_else(|| ps("unknown sort specifier"))?;
        options.order.push((column, backwards));
    }
    Ok(())
}

/// A column that is not the process id must not pose as it.
fn check_titles(words: &[&str]) -> Result<()> {
    for word in words {
        if let Some((name, title)) = word.split_once('=')
            && title.starts_with("PID")
            && name != "pid"
            && !name.starts_with('-')
        {
            return Err(Error::invalid(format_args!(
                "specifying \"{name}={title}\" is not allowed"
            )));
        }
    }
    Ok(())
}

fn unknown(name: &str) -> Error {
    ps(&format!("unknown user-defined format specifier \"{name}\""))
}

/// An error as it comes from ps through Docker.
fn ps(text: &str) -> Error {
    Error::invalid(format_args!("ps: error: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> String {
        let options = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        options.columns.iter().map(|(title, _)| title.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn columns_are_those_of_ps() {
        for (text, expected) in [
            ("", "UID PID PPID C STIME TTY TIME CMD"),
            ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
            ("-e", "PID TTY TIME CMD"),
            ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("auxww", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-eF", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD"),
            ("-l", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD"),
            ("-ely", "S UID PID PPID C PRI NI RSS SZ WCHAN TTY TIME CMD"),
            ("axf", "PID TTY STAT TIME COMMAND"),
            ("-x", "PID TTY STAT TIME COMMAND"),
            ("-Z", "LABEL PID TTY TIME CMD"),
            ("-o pid,comm", "PID COMMAND"),
            ("-opid,args", "PID COMMAND"),
            ("-eo pid,%cpu", "PID %CPU"),
            ("axo pid,cmd", "PID CMD"),
            ("-o pid -o user:20,tty", "PID USER TT"),
            ("-o pid -o comm=PROGRAM", "PID PROGRAM"),
            ("-e --format pid,stat --sort=-pid", "PID STAT"),
            ("-C sleep", "PID TTY TIME CMD"),
        ] {
            assert_eq!(titles(text), expected, "{text}");
        }
        assert!(parse("-ef --forest").unwrap().forest);
        assert_eq!(parse("-C a,b").unwrap().names, ["a", "b"]);
        let order = parse("-ef --sort=-pid,+comm").unwrap().order;
        assert_eq!(order.iter().map(|(_, back)| *back).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn what_hides_the_process_id_is_refused() {
        let text = |options: &str| parse(options).err().unwrap().to_string();
        let hidden = "Couldn't find PID field in ps output";
        for options in
            ["-o comm", "-o pid=", "-o pid=NUM,comm=CMD", "--help", "--no-headers -o pid"]
        {
            assert_eq!(text(options), hidden, "{options}");
        }
        assert_eq!(
            text("-o pid,nope"),
            "ps: error: unknown user-defined format specifier \"nope\""
        );
        assert_eq!(text("-o pid -o ppid=PID"), "specifying \"ppid=PID\" is not allowed");
        assert!(text("-o").starts_with("ps: error: format specification"));
        assert!(text("--nope").starts_with("ps: error: unknown gnu long option"));
        assert!(text("-eLf").contains("'L'"));
    }
}
