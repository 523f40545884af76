//! `docker version`.

use multi_core::api::types::TextMap;
use multi_core::api::types::system::{Component, Version};
use multi_core::base::time::Timestamp;
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::cli::table;
use multi_core::cli::template::{Kind, Object, Template, Value};

use super::clock;
use super::failure::{Failure, Outcome};
use super::session::{API_VERSION, Session};
use super::with_format::with_format;

pub(crate) const SPEC: Spec = Spec {
    usage: "",
    about: "Show the Docker version information",
    arity: Arity::None,
    ..Spec::NEW
};

with_format! {
    /// show versions
    #[derive(argh::FromArgs, argh::ArgsInfo)]
    #[argh(help_triggers("--help"))]
    pub(crate) struct Flags {}
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    let template = match flags.format.as_str() {
        "" => None,
        "json" => Some(Template::parse_named("version", "{{json .}}")?),
        text => Some(
            Template::parse_named("version", text).map_err(|e| Failure::from(e).with_code(64))?,
        ),
    };
    let answer = session.get_json::<Version>("/version", &[]);
    let api_version = match session.server() {
        Ok(server) => server.version.clone(),
        Err(_) => API_VERSION.to_string(),
    };
    let context = session.endpoint()?.context.clone();
    let (server, failure) = match answer {
        Ok(version) => (Some(with_engine(version)), None),
        Err(failure) => (None, Some(failure)),
    };
    let mut text = String::new();
    let shown = match &template {
        None => {
            text = plain(&api_version, &context, server.as_ref());
            Ok(())
        }
        Some(template) => {
            template.execute(&object(&api_version, &context, server.as_ref()), &mut text)
        }
    };
    print::out(&(table::align_with(&text, 20, 1) + "\n"));
    match (failure, shown) {
        (Some(failure), _) => Err(failure),
        (None, Err(e)) => Err(e.into()),
        (None, Ok(())) => Ok(0),
    }
}

/// The answer with a component for the engine, which older daemons leave out.
fn with_engine(mut version: Version) -> Version {
    for component in &mut version.components {
        if component.name == "Engine"
            && let Some(time) = component.details.get_mut("BuildTime")
        {
            *time = clock::ansic(time);
        }
    }
    if !version.components.iter().any(|c| c.name == "Engine") {
        let v = &version;
        let details: [(&str, String); 8] = [
            ("ApiVersion", v.api_version.clone()),
            ("MinAPIVersion", v.min_api_version.clone()),
            ("GitCommit", v.git_commit.clone()),
            ("GoVersion", v.go_version.clone()),
            ("Os", v.os.clone()),
            ("Arch", v.arch.clone()),
            ("BuildTime", clock::ansic(&v.build_time)),
            ("Experimental", v.experimental.to_string()),
        ];
        let details: TextMap = details.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        let engine = Component { name: "Engine".into(), version: version.version.clone(), details };
        version.components.push(engine);
    }
    version
}

/// Time of this build, as Docker writes it.
pub(crate) fn build_time() -> String {
    let secs = multi_core::BUILD_TIME.parse().unwrap_or(0);
    clock::ansic(&Timestamp::from_secs(secs).to_string())
}

/// The architecture in Go's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What stands where Docker names its compiler.
pub(crate) const LANGUAGE: &str = "none (Rust)";

fn plain(api_version: &str, context: &str, server: Option<&Version>) -> String {
    let downgraded = match api_version == API_VERSION {
        true => String::new(),
        false => format!(" (downgraded from {API_VERSION})"),
    };
    let mut out = format!(
        "Client:\n Version:\t{}\n API version:\t{api_version}{downgraded}\n Go version:\t{LANGUAGE}\n \
         Git commit:\t{}\n Built:\t{}\n OS/Arch:\tlinux/{}\n Context:\t{context}",
        multi_core::VERSION,
        multi_core::REVISION,
        build_time(),
        architecture(),
    );
    let Some(server) = server else { return out };
    out.push_str("\n\nServer:");
    if !server.platform.name.is_empty() {
        out.push_str(&format!(" {}", server.platform.name));
    }
    for component in &server.components {
        out.push_str(&format!("\n {}:\n  Version:\t{}", component.name, component.version));
        let detail = |key: &str| component.details.get(key).map_or("", String::as_str);
        if component.name == "Engine" {
            out.push_str(&format!(
                "\n  API version:\t{} (minimum version {})\n  Go version:\t{}\n  Git commit:\t{}\n  \
                 Built:\t{}\n  OS/Arch:\t{}/{}\n  Experimental:\t{}",
                detail("ApiVersion"),
                detail("MinAPIVersion"),
                detail("GoVersion"),
                detail("GitCommit"),
                detail("BuildTime"),
                detail("Os"),
                detail("Arch"),
                detail("Experimental"),
            ));
        } else {
            for (key, value) in &component.details {
                out.push_str(&format!("\n  {key}:\t{value}"));
            }
        }
    }
    out
}

/// The client's part of a template's data.
pub(crate) fn client(api_version: Option<&str>, context: &str) -> Object {
    let mut client = Object::typed("system.clientVersion");
    client.push_hidden("Platform", Value::Nil);
    client.push("Version", multi_core::VERSION);
    match api_version {
        Some(version) => {
            client.push("ApiVersion", version);
            client.push_alias("APIVersion", version);
        }
        None => client.push_hidden("APIVersion", ""),
    }
    client.push("DefaultAPIVersion", API_VERSION);
    client.push("GitCommit", multi_core::REVISION);
    client.push("GoVersion", LANGUAGE);
    client.push("Os", "linux");
    client.push("Arch", architecture());
    client.push("BuildTime", build_time());
    client.push("Context", context);
    client
}

fn object(api_version: &str, context: &str, server: Option<&Version>) -> Value {
    let mut info = Object::typed("system.versionInfo");
    info.push("Client", client(Some(api_version), context));
    let server = server.map_or(Value::Nil, |version| {
        let text = multi_core::base::json::to_string_plain(version);
        let mut value = Value::parse(text.as_bytes()).unwrap_or_default();
        if let Value::Object(object) = &mut value {
            object.kind = Kind::Struct("*types.Version");
            object.push_alias("APIVersion", version.api_version.as_str());
            for (name, value) in [
                ("Experimental", Value::Bool(version.experimental)),
                ("KernelVersion", Value::from(version.kernel_version.as_str())),
                ("BuildTime", Value::from(version.build_time.as_str())),
                ("MinAPIVersion", Value::from(version.min_api_version.as_str())),
            ] {
                if object.get(name).is_none() {
                    object.push_hidden(name, value);
                }
            }
        }
        value
    });
    info.push("Server", server);
    Value::Object(info)
}
