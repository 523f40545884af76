//! `docker volume create`.

use std::collections::BTreeMap;

use multi_core::api::types::Nothing;
use multi_core::api::types::volume::{CreateRequest, Volume};
use multi_core::cli::options::keyvalue::{self, label};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::cli::values::bytes;

use super::failure::{Failure, Outcome};
use super::session::Session;

pub(crate) const SPEC: Spec =
    Spec { usage: "[VOLUME]", about: "Create a volume", arity: Arity::AtMost(1), ..Spec::NEW };

/// create a volume
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    #[argh(
        option,
        arg_name = "string",
        description = "cluster Volume availability (\"active\", \"pause\", \"drain\") (default \"active\")"
    )]
    availability: Option<String>,
    /// specify volume driver name (default "local")
    #[argh(option, short = 'd', arg_name = "string", default = "String::from(\"local\")")]
    driver: String,
    #[argh(option, arg_name = "string", description = "cluster Volume group (cluster volumes)")]
    group: Option<String>,
    /// set metadata for a volume
    #[argh(option, arg_name = "list", from_str_fn(label))]
    label: Vec<String>,
    #[argh(
        option,
        arg_name = "bytes",
        from_str_fn(bytes),
        description = "minimum size of the Cluster Volume in bytes"
    )]
    limit_bytes: Option<i64>,
    /// specify volume name
    #[argh(hidden_help, option, arg_name = "string", default = "String::new()")]
    name: String,
    /// set driver specific options (default map[])
    #[argh(option, short = 'o', arg_name = "map")]
    opt: Vec<String>,
    #[argh(
        option,
        arg_name = "bytes",
        from_str_fn(bytes),
        description = "maximum size of the Cluster Volume in bytes"
    )]
    required_bytes: Option<i64>,
    #[argh(
        option,
        arg_name = "string",
        description = "cluster Volume access scope (\"single\", \"multi\") (default \"single\")"
    )]
    scope: Option<String>,
    #[argh(option, arg_name = "map", description = "cluster Volume secrets (default map[])")]
    secret: Vec<String>,
    #[argh(
        option,
        arg_name = "string",
        description = "cluster Volume access sharing (\"none\", \"readonly\", \"onewriter\", \"all\") (default \"none\")"
    )]
    sharing: Option<String>,
    #[argh(
        option,
        arg_name = "list",
        description = "a topology that the Cluster Volume would be preferred in"
    )]
    topology_preferred: Vec<String>,
    #[argh(
        option,
        arg_name = "list",
        description = "a topology that the Cluster Volume must be accessible from"
    )]
    topology_required: Vec<String>,
    #[argh(
        option,
        long = "type",
        arg_name = "string",
        description = "cluster Volume access type (\"mount\", \"block\") (default \"block\")"
    )]
    kind: Option<String>,
    /// volume
    #[argh(positional, greedy)]
    names: Vec<String>,
}

impl Flags {
    /// Whether a volume of a cluster is asked for. No daemon without a cluster makes one.
    fn is_of_cluster(&self) -> bool {
        let texts = [&self.availability, &self.group, &self.scope, &self.sharing, &self.kind];
        let lists = [&self.secret, &self.topology_preferred, &self.topology_required];
        texts.iter().any(|text| text.is_some())
            || self.limit_bytes.is_some()
            || self.required_bytes.is_some()
            || lists.iter().any(|list| !list.is_empty())
    }
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let name = match flags.names.first() {
        Some(_) if !flags.name.is_empty() => {
            return Err(Failure::new(
                "conflicting options: cannot specify a volume-name through both --name and as a \
                 positional arg",
            ));
        }
        Some(name) => name.clone(),
        None => flags.name.clone(),
    };
    let request = CreateRequest {
        cluster_volume_spec: flags.is_of_cluster().then_some(Nothing),
        driver: flags.driver.clone(),
        driver_opts: keyvalue::map(&flags.opt),
        labels: keyvalue::map(&flags.label).into_iter().collect::<BTreeMap<_, _>>(),
        name,
    };
    let made: Volume = session.post_json("/volumes/create", &[], &request)?.json()?;
    Ok(print::out(&format!("{}\n", made.name)))
}
