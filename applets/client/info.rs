//! `docker info`.

use std::io::Write;

use multi_core::api::types::system::Info;
use multi_core::base::{bytesize, json};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::cli::template::{Object, Template, Value};

use super::failure::{Failure, Outcome};
use super::session::{INDEX_SERVER, Session};
use super::version;
use super::with_format::with_format;

pub(crate) const SPEC: Spec = Spec {
    usage: "",
    about: "Display system-wide information",
    aliases: &["docker system info", "docker info"],
    arity: Arity::None,
    ..Spec::NEW
};

with_format! {
    /// show information
    #[derive(argh::FromArgs, argh::ArgsInfo)]
    #[argh(help_triggers("--help"))]
    pub(crate) struct Flags {}
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let answer = session.get("/info", &[]).and_then(|a| Ok(a.bytes()?));
    let (bytes, failure) = match answer {
        Ok(bytes) => (Some(bytes), None),
        Err(failure) => (None, Some(failure)),
    };
    let context = session.endpoint()?.context.clone();
    if flags.format.is_empty() {
        return plain(session, &context, bytes.as_deref(), failure);
    }
    let text = if flags.format == "json" { "{{json .}}" } else { flags.format.as_str() };
    let template = Template::parse(text).map_err(|e| Failure::from(e).with_code(64))?;
    let mut out = String::new();
    let object = object(session, &context, bytes.as_deref())?;
    let result = template.execute(&object, &mut out);
    print::out(&(out + "\n"));
    match (failure, result) {
        (Some(failure), _) => Err(failure),
        (None, Err(e)) => Err(e.into()),
        (None, Ok(())) => Ok(0),
    }
}

fn object(session: &Session, context: &str, bytes: Option<&[u8]>) -> Result<Value, Failure> {
    let mut info = Object::typed("system.dockerInfo");
    if let Some(bytes) = bytes {
        if let Value::Object(raw) = Value::parse(bytes)? {
            info.fields = raw.fields;
        }
        let known: Info = json::parse(bytes)?;
        for (name, value) in [
            ("ProductLicense", Value::from(known.product_license.as_str())),
            ("SystemStatus", Value::Nil),
            ("CgroupVersion", Value::from(known.cgroup_version.as_str())),
            ("KernelMemory", Value::Bool(known.kernel_memory)),
            ("DefaultAddressPools", Value::List(Vec::new())),
            ("CPUCfsPeriod", Value::Bool(known.cpu_cfs_period)),
            ("CPUCfsQuota", Value::Bool(known.cpu_cfs_quota)),
            ("HTTPProxy", Value::from(known.http_proxy.as_str())),
            ("HTTPSProxy", Value::from(known.https_proxy.as_str())),
        ] {
            if info.get(name).is_none() {
                info.push_hidden(name, value);
            }
        }
    }
    info.push_hidden("ServerErrors", Value::List(Vec::new()));
    let mut client = Object::typed("*system.clientInfo");
    client.push("Debug", session.debug());
    client.fields.extend(version::client(None, context).fields);
    client.push("Plugins", Value::List(Vec::new()));
    client.push("Warnings", Value::Nil);
    info.push("ClientInfo", client);
    info.push_hidden("ClientErrors", Value::List(Vec::new()));
    Ok(Value::Object(info))
}

fn plain(
    session: &Session,
    context: &str,
    bytes: Option<&[u8]>,
    failure: Option<Failure>,
) -> Outcome {
    let mut out = format!(
        "Client:\n Version:    {}\n Context:    {context}\n Debug Mode: {}\n\nServer:\n",
        multi_core::VERSION,
        session.debug()
    );
    let mut warnings = Vec::new();
    if let Some(bytes) = bytes {
        let info: Info = json::parse(bytes)?;
        let user = session.config().credentials(INDEX_SERVER)?.unwrap_or_default().username;
        server(&info, &user, session.debug(), &mut out);
        warnings = info.warnings.unwrap_or_default();
    }
    let code = print::out(&out);
    let _ = std::io::stdout().flush();
    warnings.iter().for_each(|w| print::err(&format!("{w}\n")));
    match failure {
        None => Ok(code),
        Some(failure) if failure.message().starts_with("Error response") => {
            print::err(&format!("ERROR: {}", failure.text));
            Err(Failure::new("errors pretty printing info"))
        }
        Some(failure) => Err(failure),
    }
}

fn server(info: &Info, user: &str, debug: bool, out: &mut String) {
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    let some = |label: &str, value: &str| -> Option<String> {
        (!value.is_empty()).then(|| format!(" {label}: {value}"))
    };
    line(format!(" Containers: {}", info.containers));
    line(format!("  Running: {}", info.containers_running));
    line(format!("  Paused: {}", info.containers_paused));
    line(format!("  Stopped: {}", info.containers_stopped));
    line(format!(" Images: {}", info.images));
    some("Server Version", &info.server_version).into_iter().for_each(&mut line);
    some("Storage Driver", &info.driver).into_iter().for_each(&mut line);
    for (name, value) in &info.driver_status {
        line(format!("  {name}: {value}"));
    }
    for (name, value) in &info.system_status {
        line(format!(" {name}: {value}"));
    }
    some("Logging Driver", &info.logging_driver).into_iter().for_each(&mut line);
    some("Cgroup Driver", &info.cgroup_driver).into_iter().for_each(&mut line);
    some("Cgroup Version", &info.cgroup_version).into_iter().for_each(&mut line);
    line(" Plugins:".into());
    line(format!("  Volume: {}", info.plugins.volume.join(" ")));
    line(format!("  Network: {}", info.plugins.network.join(" ")));
    if let Some(plugins) = info.plugins.authorization.as_ref().filter(|p| !p.is_empty()) {
        line(format!("  Authorization: {}", plugins.join(" ")));
    }
    line(format!("  Log: {}", info.plugins.log.join(" ")));
    if !info.cdi_spec_dirs.is_empty() {
        line(" CDI spec directories:".into());
        info.cdi_spec_dirs.iter().for_each(|dir| line(format!("  {dir}")));
    }
    line(format!(" Swarm: {}", info.swarm.local_node_state));
    if !info.runtimes.is_empty() {
        let names: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
        line(format!(" Runtimes: {}", names.join(" ")));
        line(format!(" Default Runtime: {}", info.default_runtime));
    }
    if info.os_type == "linux" {
        line(format!(" Init Binary: {}", info.init_binary));
        line(format!(" containerd version: {}", info.containerd_commit.id));
        line(format!(" runc version: {}", info.runc_commit.id));
        line(format!(" init version: {}", info.init_commit.id));
        if !info.security_options.is_empty() {
            line(" Security Options:".into());
            for option in &info.security_options {
                security(option).into_iter().for_each(&mut line);
            }
        }
    }
    some("Kernel Version", &info.kernel_version).into_iter().for_each(&mut line);
    some("Operating System", &info.operating_system).into_iter().for_each(&mut line);
    some("OSType", &info.os_type).into_iter().for_each(&mut line);
    some("Architecture", &info.architecture).into_iter().for_each(&mut line);
    line(format!(" CPUs: {}", info.ncpu));
    line(format!(" Total Memory: {}", bytesize::binary(info.mem_total as f64)));
    some("Name", &info.name).into_iter().for_each(&mut line);
    some("ID", &info.id).into_iter().for_each(&mut line);
    line(format!(" Docker Root Dir: {}", info.docker_root_dir));
    line(format!(" Debug Mode: {}", info.debug));
    if info.debug || debug {
        line(format!("  File Descriptors: {}", info.n_fd));
        line(format!("  Goroutines: {}", info.n_goroutines));
        line(format!("  System Time: {}", info.system_time));
        line(format!("  EventsListeners: {}", info.n_events_listener));
    }
    some("HTTP Proxy", &info.http_proxy).into_iter().for_each(&mut line);
    some("HTTPS Proxy", &info.https_proxy).into_iter().for_each(&mut line);
    some("No Proxy", &info.no_proxy).into_iter().for_each(&mut line);
    some("Username", user).into_iter().for_each(&mut line);
    if !info.labels.is_empty() {
        line(" Labels:".into());
        info.labels.iter().for_each(|label| line(format!("  {label}")));
    }
    line(format!(" Experimental: {}", info.experimental_build));
    if let Some(registry) = &info.registry_config {
        let insecure = registry.index_configs.values().filter(|i| !i.secure);
        if !registry.insecure_registry_cidrs.is_empty() || !registry.index_configs.is_empty() {
            line(" Insecure Registries:".into());
            insecure.for_each(|index| line(format!("  {}", index.name)));
            registry.insecure_registry_cidrs.iter().for_each(|net| line(format!("  {net}")));
        }
        if let Some(mirrors) = registry.mirrors.as_ref().filter(|m| !m.is_empty()) {
            line(" Registry Mirrors:".into());
            mirrors.iter().for_each(|mirror| line(format!("  {mirror}")));
        }
    }
    line(format!(" Live Restore Enabled: {}", info.live_restore_enabled));
    some("Product License", &info.product_license).into_iter().for_each(&mut line);
    if !info.default_address_pools.is_empty() {
        line(" Default Address Pools:".into());
        for pool in &info.default_address_pools {
            line(format!("   Base: {}, Size: {}", pool.base, pool.size));
        }
    }
    line(String::new());
}

/// `name=seccomp,profile=builtin` as lines.
fn security(option: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for pair in option.split(',') {
        match pair.split_once('=') {
            Some(("name", name)) => lines.push(format!("  {name}")),
            Some(("profile", profile)) => lines.push(format!("   Profile: {profile}")),
            Some(_) => {}
            // The form of daemons before 1.13.
            None => lines.push(format!("  {pair}")),
        }
    }
    lines
}
