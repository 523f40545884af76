//! `docker tag`.

use multi_core::base::Error;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::registry::reference::{AnyReference, Reference, parse_any};

use super::failure::{Failure, Outcome};
use super::session::Session;

pub(crate) const SPEC: Spec = Spec {
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    aliases: &["docker image tag", "docker tag"],
    arity: Arity::Exactly(2),
    ..Spec::NEW
};

/// tag an image
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// source and target
    #[argh(positional, greedy)]
    names: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let (source, target) = (flags.names[0].as_str(), flags.names[1].as_str());
    let wrong = |what: &str, text: &str, e: Error| {
        Failure::new(format_args!("Error parsing reference: {text:?} is not a valid {what}: {e}"))
    };
    parse_any(source).map_err(|e| wrong("repository/tag", source, e))?;
    let target_name = match parse_any(target) {
        Ok(AnyReference::Named(_)) => {
            Reference::parse(target).map_err(|e| wrong("repository/tag", target, e))?
        }
        Ok(AnyReference::Id(_)) => {
            let e = Reference::parse(target).err().unwrap_or_else(|| Error::invalid(target));
            return Err(wrong("repository/tag", target, e));
        }
        Err(e) => return Err(wrong("repository/tag", target, e)),
    };
    if target_name.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let target_name = target_name.or_latest();
    let (repo, tag) = (target_name.familiar_name(), target_name.tag().unwrap_or_default());
    session.post(&format!("/images/{source}/tag"), &[("repo", &repo), ("tag", tag)])?;
    Ok(0)
}
