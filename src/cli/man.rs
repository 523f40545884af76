//! Manual pages in roff, from the same metadata as help.
//!
//! Pages carry no date and no version: the same sources give the same bytes, and the committed pages
//! can be compared with what the executable prints.
//!
//! Spec: man-pages(7), groff_man(7).

use std::fmt::Write as _;

use argh::FlagInfo;

use super::help;
use super::pflag::Spec;

/// One page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// `docker-run`.
    pub name: String,
    /// 1 for commands, 8 for the daemon.
    pub section: u8,
    /// What it does, without a full stop.
    pub about: String,
    /// Lines of the synopsis: `docker run [OPTIONS] IMAGE [COMMAND] [ARG...]`.
    pub synopsis: Vec<String>,
    /// Titled parts in order; text as [`Part`] tells.
    pub parts: Vec<Part>,
    /// Other pages: `docker(1)`.
    pub see_also: Vec<String>,
}

/// A titled part of a page.
#[derive(Clone, Debug)]
pub struct Part {
    /// `DESCRIPTION`.
    pub title: String,
    /// What it holds.
    pub body: Body,
}

/// The content of a part.
#[derive(Clone, Debug)]
pub enum Body {
    /// Paragraphs, separated by empty lines.
    Text(String),
    /// Terms with their explanations; terms are printed bold.
    Terms(Vec<(String, String)>),
    /// Lines printed as they are.
    Lines(String),
}

impl Page {
    /// The page of one command. `called` is its full name, `docker run`.
    pub fn of_command(called: &str, spec: &Spec, flags: &[FlagInfo<'_>]) -> Page {
        let mut lines = spec.about.lines();
        let about = lines.next().unwrap_or_default().trim_end_matches('.').to_string();
        let mut parts = Vec::new();
        let mut description = spec.about.lines().map(|l| format!("{}.", l.trim_end_matches('.')));
        parts.push(Part::text("DESCRIPTION", &description.by_ref().collect::<Vec<_>>().join(" ")));
        if spec.aliases.len() > 1 {
            parts.push(Part::text("OTHER NAMES", &spec.aliases.join(", ")));
        }
        let options = option_terms(flags);
        if !options.is_empty() {
            parts.push(Part { title: "OPTIONS".into(), body: Body::Terms(options) });
        }
        Page {
            name: called.replace(' ', "-"),
            section: 1,
            about,
            synopsis: vec![help::usage_line(spec, called, flags)],
            parts,
            see_also: vec![],
        }
    }

    /// `docker-run.1`, the name of its file.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }

    /// The page as roff.
    pub fn render(&self) -> String {
        let mut out = format!(
            ".TH \"{}\" \"{}\" \"\" \"multi\" \"Container Engine\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n",
            escape(&self.name.to_uppercase()),
            self.section,
            escape(&self.name),
            escape(&self.about)
        );
        for (i, line) in self.synopsis.iter().enumerate() {
            let _ = writeln!(out, "{}\\fB{}\\fR", if i == 0 { "" } else { ".br\n" }, escape(line));
        }
        for part in &self.parts {
            let _ = writeln!(out, ".SH {}", escape(&part.title));
            match &part.body {
                Body::Text(text) => paragraphs(&mut out, text),
                Body::Terms(terms) => {
                    for (term, text) in terms {
                        let _ = writeln!(out, ".TP\n\\fB{}\\fR", escape(term));
                        for line in text.lines() {
                            let _ = writeln!(out, "{}", escape(line));
                        }
                    }
                }
                Body::Lines(text) => {
                    out.push_str(".nf\n");
                    for line in text.lines() {
                        let _ = writeln!(out, "{}", escape(line));
                    }
                    out.push_str(".fi\n");
                }
            }
        }
        if !self.see_also.is_empty() {
            let pages: Vec<String> =
                self.see_also.iter().map(|p| format!("\\fB{}\\fR", escape(p))).collect();
            let _ = write!(out, ".SH SEE ALSO\n{}\n", pages.join(", "));
        }
        out
    }
}

impl Part {
    /// A part of paragraphs.
    pub fn text(title: &str, text: &str) -> Part {
        Part { title: title.into(), body: Body::Text(text.into()) }
    }

    /// A part of terms.
    pub fn terms<A: ToString, B: ToString>(title: &str, terms: &[(A, B)]) -> Part {
        let terms = terms.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        Part { title: title.into(), body: Body::Terms(terms) }
    }

    /// A part that is printed as it is.
    pub fn lines(title: &str, text: &str) -> Part {
        Part { title: title.into(), body: Body::Lines(text.into()) }
    }
}

/// `-a, --all` and what it does, for each flag that help shows, sorted by name.
pub fn option_terms(flags: &[FlagInfo<'_>]) -> Vec<(String, String)> {
    let mut sorted: Vec<&FlagInfo<'_>> = flags.iter().filter(|f| help::listed(f, false)).collect();
    sorted.sort_by_key(|f| f.long);
    sorted
        .into_iter()
        .map(|flag| {
            let mut term = match flag.short {
                Some(letter) => format!("-{letter}, {}", flag.long),
                None => flag.long.to_string(),
            };
            if let Some(word) = help::type_word(flag) {
                term.push('=');
                term.push_str(word);
            }
            (term, help::description(flag))
        })
        .collect()
}

fn paragraphs(out: &mut String, text: &str) {
    for (i, paragraph) in text.split("\n\n").enumerate() {
        if i > 0 {
            out.push_str(".PP\n");
        }
        for line in paragraph.lines() {
            let _ = writeln!(out, "{}", escape(line));
        }
    }
}

/// Text that roff prints as it is.
fn escape(text: &str) -> String {
    let mut out = text.replace('\\', "\\e").replace('-', "\\-");
    // A line that starts so would be a request.
    if out.starts_with(['.', '\'']) {
        out.insert_str(0, "\\&");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use argh::{FlagInfoKind, Optionality};

    #[test]
    fn a_page_is_made_of_the_metadata() {
        let flags = [FlagInfo {
            kind: FlagInfoKind::Option { arg_name: "string" },
            optionality: Optionality::Optional,
            long: "--name",
            short: Some('n'),
            description: "assign a name",
            hidden: false,
        }];
        let spec = Spec { usage: "IMAGE", about: "Run it\n.second", ..Spec::NEW };
        let page = Page::of_command("docker run", &spec, &flags);
        assert_eq!(page.file_name(), "docker-run.1");
        let text = page.render();
        assert!(text.contains(".SH NAME\ndocker\\-run \\- Run it\n"));
        assert!(text.contains("\\fBdocker run [OPTIONS] IMAGE\\fR\n"));
        assert!(text.contains(".TP\n\\fB\\-n, \\-\\-name=string\\fR\nAssign a name\n"));
    }

    #[test]
    fn text_never_becomes_a_request() {
        assert_eq!(escape(".x\\y"), "\\&.x\\ey");
        let page = Page { parts: vec![Part::text("A", "a\n.b\n\nc")], ..Page::default() };
        assert!(page.render().contains(".SH A\na\n\\&.b\n.PP\nc\n"));
    }
}
