//! Instructions that change the configuration of an image and nothing else.
//!
//! They are carried out in order; the variables that an instruction may use are those of the
//! configuration as the ones before it left it.

use super::expand;
use super::instruction::{Command, Instruction, is_change};
use super::lines;
use crate::base::json::{Nothing, Words};
use crate::base::{Error, Result};
use crate::image::config::Config;
use crate::sys::signal;

/// The shell of the shell form unless the image names another.
const SHELL: &[&str] = &["/bin/sh", "-c"];

/// The configuration `config` with `changes` made to it, each a line of a Dockerfile: what
/// `docker commit --change` and `docker import --change` ask for. None leave it as it is.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn apply_changes(config: &Config, changes: &[String]) -> Result<Config> {
    let mut changed = Changes::new(config.clone());
    if changes.is_empty() {
        return Ok(changed.config);
    }
    let (lines, escape) = lines::split(&changes.join("\n"))?;
    if let Some(line) = lines.iter().find(|line| !is_change(&line.keyword)) {
        return Err(Error::invalid(format_args!(
            "{} is not a valid change command",
            line.keyword.to_lowercase()
        )));
    }
    let read = lines.iter().map(|line| Instruction::parse(line, escape));
    for instruction in read.collect::<Result<Vec<_>>>()? {
        changed.apply(&instruction, escape)?;
    }
    Ok(changed.config)
}

/// A configuration while it is changed.
pub struct Changes {
    /// As it is now.
    pub config: Config,
    /// A `CMD` came: an `ENTRYPOINT` after it leaves it alone.
    has_cmd: bool,
}

impl Changes {
    /// Nothing changed yet.
    pub fn new(config: Config) -> Changes {
        Changes { config, has_cmd: false }
    }

    /// Carries out one instruction.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts.
    pub fn apply(&mut self, instruction: &Instruction, escape: char) -> Result<()> {
        let env = self.config.env.clone().unwrap_or_default();
        let word = |text: &str| expand::word(text, &env, escape);
        let config = &mut self.config;
        match instruction {
            Instruction::Cmd(command) => {
                config.cmd = words(command, config);
                config.args_escaped = false;
                self.has_cmd = config.cmd.is_some();
            }
            Instruction::Entrypoint(command) => {
                config.entrypoint = words(command, config);
                // It came with the entry point that is replaced.
                if !self.has_cmd {
                    config.cmd = None;
                }
            }
            Instruction::Env(pairs) => {
                for (name, value) in pairs {
                    set(config.env.get_or_insert_default(), &word(name)?, &word(value)?);
                }
            }
            Instruction::Expose(ports) => {
                for port in ports {
                    for port in expand::words(port, &env, escape)? {
                        let ports = exposed(&port)?;
                        config.exposed_ports.extend(ports.into_iter().map(|p| (p, Nothing)));
                    }
                }
            }
            Instruction::HealthCheck(health) => config.healthcheck = Some(health.clone()),
            Instruction::Label(pairs) => {
                for (name, value) in pairs {
                    let (name, value) = (word(name)?, word(value)?);
                    config.labels.get_or_insert_default().insert(name, value);
                }
            }
            Instruction::OnBuild(instruction) => {
                config.on_build.get_or_insert_default().push(instruction.clone());
            }
            Instruction::StopSignal(name) => {
                let name = word(name)?;
                signal::parse(&name)
                    .map_err(|_| Error::invalid(format_args!("Invalid signal: {name}")))?;
                config.stop_signal = name;
            }
            Instruction::User(user) => config.user = word(user)?,
            Instruction::Volume(paths) => {
                for path in paths {
                    let path = word(path)?.trim().to_string();
                    if path.is_empty() {
                        return Err(Error::invalid("VOLUME specified can not be an empty string"));
                    }
                    config.volumes.get_or_insert_default().insert(path, Nothing);
                }
            }
            Instruction::Workdir(path) => {
                config.working_dir = working_dir(&config.working_dir, &word(path)?)?;
            }
        }
        Ok(())
    }
}

/// The words of a command, with the shell before a line that is for it.
fn words(command: &Command, config: &Config) -> Option<Words> {
    match command {
        Command::Exec(words) => Some(words.clone().into()),
        Command::Shell(line) if line.is_empty() => None,
        Command::Shell(line) => {
            let mut words = match &config.shell {
                Some(shell) if !shell.is_empty() => shell.0.clone(),
                _ => SHELL.iter().map(ToString::to_string).collect(),
            };
            words.push(line.clone());
            Some(words.into())
        }
    }
}

fn set(env: &mut Vec<String>, name: &str, value: &str) {
    let pair = format!("{name}={value}");
    match env.iter_mut().find(|have| have.split('=').next() == Some(name)) {
        Some(have) => *have = pair,
        None => env.push(pair),
    }
}

fn working_dir(current: &str, path: &str) -> Result<String> {
    if path.is_empty() {
        return Err(Error::invalid("cannot normalize nothing"));
    }
    if path.starts_with('/') {
        return Ok(path.into());
    }
    let joined = format!("/{current}/{path}");
    Ok(std::path::Path::new("/")
        .join(crate::sys::rootfd::clean(std::path::Path::new(&joined)))
        .to_string_lossy()
        .into_owned())
}

/// `80`, `80/udp`, `80-82/tcp`: a name for each port.
fn exposed(text: &str) -> Result<Vec<String>> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if ports.is_empty() {
        return Err(Error::invalid("No port specified: /<empty>"));
    }
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Error::invalid(format_args!("Invalid proto: {protocol}")));
    }
    // Only the container's side of a mapping is exposed.
    let ports = ports.rsplit(':').next().unwrap_or_default();
    let bad = || Error::invalid(format_args!("Invalid containerPort: {ports}"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| text.parse::<u16>().map_err(|_| bad());
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(bad());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json;

    fn changed(config: &Config, changes: &[&str]) -> Result<Config> {
        let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
        apply_changes(config, &changes)
    }

    #[test]
    fn changes_make_dockers_configuration() {
        let base = Config {
            env: Some(vec!["X=y".into(), "A=b".into()]),
            cmd: Some(vec!["old".to_string()].into()),
            ..Config::default()
        };
        let changes = [
            r#"CMD ["a","b"]"#,
            r#"ENV Q=1 Z="x y" X=$A"#,
            "EXPOSE 80 81/udp 90-92",
            "LABEL k=$X",
            "VOLUME /a /b",
            "USER u",
            "WORKDIR w",
            "WORKDIR ../v",
            "HEALTHCHECK --interval=3s CMD ls",
            "ENTRYPOINT ls -l",
            "ONBUILD RUN x",
            "STOPSIGNAL SIGINT",
        ];
        let config = changed(&base, &changes).unwrap();
        assert_eq!(
            json::to_string(&config),
            r#"{"Hostname":"","Domainname":"","User":"u","AttachStdin":false,"AttachStdout":false,"AttachStderr":false,"ExposedPorts":{"80/tcp":{},"81/udp":{},"90/tcp":{},"91/tcp":{},"92/tcp":{}},"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":["X=b","A=b","Q=1","Z=x y"],"Cmd":["a","b"],"Healthcheck":{"Test":["CMD-SHELL","ls"],"Interval":3000000000},"Image":"","Volumes":{"/a":{},"/b":{}},"WorkingDir":"/v","Entrypoint":["/bin/sh","-c","ls -l"],"OnBuild":["RUN x"],"Labels":{"k":"b"},"StopSignal":"SIGINT"}"#
        );
        let config = changed(&base, &["ENTRYPOINT [\"e\"]"]).unwrap();
        assert!(config.cmd.is_none(), "the command of another entry point");
        assert_eq!(changed(&base, &[]).unwrap(), base);
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for (change, told) in [
            ("FROM x", "from is not a valid change command"),
            ("RUN x", "run is not a valid change command"),
            ("bogus", "bogus is not a valid change command"),
            ("", "file with no instructions"),
            ("EXPOSE abc", "Invalid containerPort: abc"),
            ("EXPOSE 80/xyz", "Invalid proto: xyz"),
            ("STOPSIGNAL FOO", "Invalid signal: FOO"),
            (
                "ENV \"a=b",
                "failed to process \"\\\"a\": unexpected end of statement while looking for matching double-quote",
            ),
        ] {
            let e = changed(&Config::default(), &[change]).unwrap_err();
            assert_eq!(e.message(), told, "{change}");
        }
    }
}
