//! `docker login`.

use std::io::{self, BufRead, Read, Write};

use multi_core::api::types::auth::{AuthConfig, AuthResponse};
use multi_core::base::{At, Kind};
use multi_core::cli::pflag::{self, Arity, Spec};
use multi_core::cli::print;
use multi_core::cli::term::{self, NoEcho};
use multi_core::registry::auth::Credentials;

use super::failure::{Failure, Outcome};
use super::logout::hostname;
use super::session::{INDEX_SERVER, Session};

pub(crate) const SPEC: Spec = Spec {
    usage: "[SERVER]",
    about: "Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
    arity: Arity::AtMost(1),
    ..Spec::NEW
};

/// log in
#[derive(argh::FromArgs, argh::ArgsInfo)]
#[argh(help_triggers("--help"))]
pub(crate) struct Flags {
    /// password or Personal Access Token (PAT)
    #[argh(option, short = 'p', arg_name = "string")]
    password: Option<String>,
    /// take the Password or Personal Access Token (PAT) from stdin
    #[argh(switch)]
    password_stdin: bool,
    /// username
    #[argh(option, short = 'u', arg_name = "string")]
    username: Option<String>,
    /// server
    #[argh(positional, greedy)]
    servers: Vec<String>,
}

pub(crate) fn run(session: &Session, called: &str, argv: &[String]) -> Outcome {
    let flags: Flags = pflag::parse(&SPEC, called, argv)?;
    check(&flags)?;
    let user = flags.username.clone().unwrap_or_default();
    let mut password = flags.password.clone().unwrap_or_default();
    if !password.is_empty() {
        print::err("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
    }
    if flags.password_stdin {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).at("reading the password")?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        password = text.strip_suffix('\r').unwrap_or(text).to_string();
    }
    let server = match flags.servers.first().map(String::as_str) {
        None | Some("docker.io") => INDEX_SERVER,
        Some(server) => hostname(server),
    };
    let mut stored = Credentials::default();
    if user.is_empty() && password.is_empty() {
        stored = session.config().credentials(server)?.unwrap_or_default();
    }
    if !stored.username.is_empty() && !stored.password.is_empty() {
        print::err(&format!(
            "Authenticating with existing credentials... [Username: {}]\n\n\
             i Info → To login with a different account, run 'docker logout' followed by 'docker login'\n\n\n",
            stored.username
        ));
        match log_in(session, server, &stored.username, &stored.password) {
            Ok(code) => return Ok(code),
            Err(failure) if failure.kind == Kind::Unauthorized => {
                print::err("Stored credentials invalid or expired\n");
            }
            Err(failure) => {
                print::err(&format!("Login did not succeed, error: {}", failure.text));
            }
        }
    }
    if (user.is_empty() || password.is_empty()) && !term::stdin_is_terminal() {
        return Err(Failure::new(
            "Error: Cannot perform an interactive login from a non TTY device",
        ));
    }
    let user = ask_user(user.trim(), &stored.username)?;
    let password = ask_password(password.trim())?;
    log_in(session, server, &user, &password)
}

fn check(flags: &Flags) -> Result<(), Failure> {
    let problem = if flags.password_stdin && flags.password.is_some() {
        "conflicting options: cannot specify both --password and --password-stdin"
    } else if flags.password_stdin && flags.username.is_none() {
        "the --password-stdin option requires --username to be set"
    } else if flags.username.as_deref() == Some("") {
        "username is empty"
    } else if flags.password.as_deref() == Some("") {
        "password is empty"
    } else {
        return Ok(());
    };
    Err(Failure::new(problem))
}

fn ask_user(given: &str, default: &str) -> Result<String, Failure> {
    if !given.is_empty() {
        return Ok(given.to_string());
    }
    let prompt = match default {
        "" => "Username: ".to_string(),
        name => format!("Username ({name}): "),
    };
    let typed = ask(&prompt)?;
    let user = if typed.is_empty() { default } else { &typed };
    match user {
        "" => Err(Failure::new("Error: Non-null Username Required")),
        user => Ok(user.to_string()),
    }
}

fn ask_password(given: &str) -> Result<String, Failure> {
    if !given.is_empty() {
        return Ok(given.to_string());
    }
    let hidden = NoEcho::enter(std::os::fd::AsFd::as_fd(&io::stdin()))?;
    let password = ask("Password: ");
    drop(hidden);
    print::out("\n");
    match password?.as_str() {
        "" => Err(Failure::new("Error: Password Required")),
        password => Ok(password.to_string()),
    }
}

fn ask(prompt: &str) -> Result<String, Failure> {
    print::out(prompt);
    let _ = io::stdout().flush();
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).at("reading from the terminal")?;
    Ok(line.trim().to_string())
}

/// Has the daemon try the credentials, and keeps them when they are good.
fn log_in(session: &Session, server: &str, user: &str, password: &str) -> Outcome {
    let request = AuthConfig {
        username: user.into(),
        password: password.into(),
        server_address: server.into(),
        ..AuthConfig::default()
    };
    let response: AuthResponse = session.post_json("/auth", &[], &request)?.json()?;
    let mut credentials = Credentials::basic(user, password);
    credentials.server_address = server.into();
    if !response.identity_token.is_empty() {
        credentials.password = String::new();
        credentials.identity_token = response.identity_token;
    }
    let mut config = session.fresh_config();
    if config.stores_in_file(server) {
        print::err(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\n\
             Configure a credential helper to remove this warning. See\n\
             https://docs.docker.com/go/credential-store/\n\n",
            config.dir().join("config.json").display()
        ));
    }
    config.store_credentials(server, &credentials).at("Error saving credentials")?;
    match response.status.as_str() {
        "" => Ok(0),
        status => Ok(print::out(&format!("{status}\n"))),
    }
}
