//! Files as Docker's clients of all times wrote them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::endpoint::resolve;
use super::*;
use crate::registry::auth::Credentials;

struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("multi-client-{}-{serial}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }
    fn config(&self, text: &str) -> (ClientConfig, Option<String>) {
        fs::write(self.0.join("config.json"), text).unwrap();
        ClientConfig::load(&self.0)
    }
    fn text(&self) -> String {
        fs::read_to_string(self.0.join("config.json")).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn login(user: &str) -> Credentials {
    Credentials { username: user.into(), password: "p:w".into(), ..Credentials::default() }
}

#[test]
fn credentials_survive_a_round_trip_and_so_does_what_is_not_ours() {
    let dir = Dir::new();
    let (mut config, warning) = dir.config(r#"{"extra":{"a":[1]},"psFormat":"table {{.ID}}"}"#);
    assert!(warning.is_none());
    config.store_credentials("r.example:5000", &login("u")).unwrap();
    let text = dir.text();
    assert!(
        text.contains("\t\"auths\": {\n\t\t\"r.example:5000\": {\n\t\t\t\"auth\": \"dTpwOnc=\"")
    );
    let (again, _) = ClientConfig::load(&dir.0);
    let found = again.credentials("r.example:5000").unwrap().unwrap();
    assert_eq!((found.username.as_str(), found.password.as_str()), ("u", "p:w"));
    assert_eq!(again.text("psFormat"), "table {{.ID}}");
    assert!(text.contains("\"extra\""));
    let mode = fs::metadata(dir.0.join("config.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(config.erase_credentials("r.example:5000").unwrap());
    assert!(!config.erase_credentials("r.example:5000").unwrap());
    assert!(ClientConfig::load(&dir.0).0.credentials("r.example:5000").unwrap().is_none());
}

#[test]
fn a_missing_directory_is_made_and_a_link_stays_a_link() {
    let dir = Dir::new();
    let (mut config, _) = ClientConfig::load(&dir.0.join("new"));
    config.store_credentials("a", &login("u")).unwrap();
    let mode = fs::metadata(dir.0.join("new")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    fs::write(dir.0.join("real.json"), "{}").unwrap();
    std::os::unix::fs::symlink("real.json", dir.0.join("config.json")).unwrap();
    let (mut config, _) = ClientConfig::load(&dir.0);
    config.store_credentials("a", &login("u")).unwrap();
    assert!(fs::symlink_metadata(dir.0.join("config.json")).unwrap().is_symlink());
    assert!(fs::read_to_string(dir.0.join("real.json")).unwrap().contains("auths"));
}

#[test]
fn a_broken_file_warns_and_is_never_overwritten() {
    for text in [
        "{bad",
        "[]",
        r#"{"auths":5}"#,
        r#"{"auths":{"x":{"auth":"!!"}}}"#,
        r#"{"auths":{"x":{"auth":"YQ=="}}}"#,
        r#"{"psFormat":1}"#,
    ] {
        let dir = Dir::new();
        let (mut config, warning) = dir.config(text);
        let warning = warning.expect(text);
        assert!(warning.starts_with("WARNING: Error parsing config file ("), "{warning}");
        assert!(config.store_credentials("a", &login("u")).is_err());
        assert_eq!(dir.text(), text);
    }
}

#[test]
fn keys_that_are_urls_belong_to_their_host() {
    let dir = Dir::new();
    let (config, _) = dir.config(
        r#"{"auths":{"https://r.example/v1/":{"auth":"dTpw","email":"e"},
            "https://index.docker.io/v1/":{"auth":"aHViOnA="},"t":{"identitytoken":"tok"},"e":{}}}"#,
    );
    let user = |key: &str| config.credentials(key).unwrap().map(|c| c.username);
    assert_eq!(user("r.example").as_deref(), Some("u"));
    assert_eq!(user("https://index.docker.io/v1/").as_deref(), Some("hub"));
    assert_eq!(user("other.example"), None);
    assert_eq!(user("e"), None);
    assert_eq!(config.credentials("t").unwrap().unwrap().identity_token, "tok");
    assert_eq!(config.all_credentials().unwrap().len(), 3);
}

#[test]
fn a_missing_helper_is_told_by_its_name() {
    let dir = Dir::new();
    let (config, _) = dir
        .config(r#"{"credsStore":"multi-nonexistent","credHelpers":{"r.example":"multi-other"}}"#);
    assert!(!config.stores_in_file("x"));
    let error = config.credentials("x").unwrap_err().to_string();
    assert_eq!(
        error,
        "error getting credentials - running docker-credential-multi-nonexistent: \
         exec: \"docker-credential-multi-nonexistent\": executable file not found in $PATH"
    );
    let error = config.credentials("r.example").unwrap_err().to_string();
    assert!(error.contains("docker-credential-multi-other"));
}

#[test]
fn headers_and_proxies_are_read() {
    let dir = Dir::new();
    let (config, _) = dir.config(
        r#"{"HttpHeaders":{"X-A":"1","User-Agent":"evil"},
            "proxies":{"default":{"httpProxy":"http://p","noProxy":"a,b"},"tcp://h:1":{"httpsProxy":"q"}}}"#,
    );
    assert_eq!(config.http_headers().into_iter().collect::<Vec<_>>(), [("X-A".into(), "1".into())]);
    let default = config.proxies("unix:///s");
    assert_eq!((default["HTTP_PROXY"].as_str(), default["no_proxy"].as_str()), ("http://p", "a,b"));
    assert_eq!(config.proxies("tcp://h:1").len(), 2);
}

fn connect(
    flags: &Connection,
    config: &ClientConfig,
    environment: &[(&str, &str)],
) -> Result<Endpoint> {
    resolve(flags, config, &|name| {
        environment.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string())
    })
}

#[test]
fn the_daemon_is_found_by_flag_environment_and_default() {
    let dir = Dir::new();
    let (config, _) = dir.config("{}");
    let none = Connection::default();
    let flag = Connection { hosts: vec!["tcp://f:1".into()], ..Connection::default() };
    let host = |flags, environment: &[(&str, &str)]| connect(flags, &config, environment).unwrap();
    assert_eq!(host(&none, &[]).host.to_string(), "unix:///var/run/docker.sock");
    assert_eq!(host(&none, &[("DOCKER_HOST", "e:2")]).host.to_string(), "tcp://e:2");
    assert_eq!(host(&flag, &[("DOCKER_HOST", "e:2")]).host.to_string(), "tcp://f:1");
    assert_eq!(host(&flag, &[]).tls, None);
    let pinned = host(&none, &[("DOCKER_API_VERSION", "1.41")]);
    assert_eq!(pinned.api_version.as_deref(), Some("1.41"));
    let error = |hosts: &[&str]| {
        let hosts = hosts.iter().map(|h| h.to_string()).collect();
        let flags = Connection { hosts, ..Connection::default() };
        connect(&flags, &config, &[]).unwrap_err().to_string()
    };
    let head = "Failed to initialize: unable to resolve docker endpoint: ";
    assert_eq!(error(&["a", "b"]), format!("{head}Specify only one -H"));
    assert_eq!(
        error(&["foo://x"]),
        format!("{head}unable to parse docker host `foo://x`: unsupported proto 'foo'")
    );
}

#[test]
fn tls_follows_flags_and_environment() {
    let dir = Dir::new();
    let (config, _) = dir.config("{}");
    fs::write(dir.0.join("cert.pem"), "").unwrap();
    let flags = Connection { hosts: vec!["h".into()], ..Connection::default() };
    let verified = connect(&flags, &config, &[("DOCKER_TLS_VERIFY", "1")]).unwrap();
    assert_eq!(verified.host.to_string(), "tcp://h:2376");
    let files = verified.tls.unwrap();
    assert!(files.verify);
    assert_eq!(files.ca, Some(dir.0.join("ca.pem")));
    assert_eq!((files.cert, files.key), (Some(dir.0.join("cert.pem")), None));
    let plain = Connection { tls: Some(true), ..flags.clone() };
    let files = connect(&plain, &config, &[("DOCKER_CERT_PATH", "/nonexistent")]).unwrap().tls;
    assert_eq!(files.unwrap(), TlsFiles::default());
    let off = Connection { tls: Some(false), ..flags };
    assert_eq!(connect(&off, &config, &[("DOCKER_TLS", "1")]).unwrap().tls, None);
}

#[test]
fn contexts_are_found_by_the_digest_of_their_name() {
    let dir = Dir::new();
    let (config, _) = dir.config(r#"{"currentContext":"foo"}"#);
    let none = Connection::default();
    let error = connect(&none, &config, &[]).unwrap_err().to_string();
    let id = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    assert_eq!(
        error,
        format!(
            "Failed to initialize: unable to resolve docker endpoint: context \"foo\": context not \
             found: open {}/contexts/meta/{id}/meta.json: no such file or directory",
            dir.0.display()
        )
    );
    let meta = dir.0.join("contexts/meta").join(id);
    fs::create_dir_all(&meta).unwrap();
    fs::write(
        meta.join("meta.json"),
        r#"{"Name":"foo","Endpoints":{"docker":{"Host":"tcp://c:9","SkipTLSVerify":false}}}"#,
    )
    .unwrap();
    let found = connect(&none, &config, &[]).unwrap();
    assert_eq!((found.host.to_string().as_str(), found.context.as_str()), ("tcp://c:9", "foo"));
    assert_eq!(found.tls, None);
    let tls = dir.0.join("contexts/tls").join(id).join("docker");
    fs::create_dir_all(&tls).unwrap();
    fs::write(tls.join("ca.pem"), "").unwrap();
    assert!(connect(&none, &config, &[]).unwrap().tls.unwrap().verify);
    assert_eq!(
        connect(&none, &config, &[("DOCKER_HOST", "unix:///s")]).unwrap().host.to_string(),
        "unix:///s"
    );
    let both = Connection {
        hosts: vec!["x".into()],
        context: Some("foo".into()),
        ..Connection::default()
    };
    assert_eq!(
        connect(&both, &config, &[]).unwrap_err().to_string(),
        "conflicting options: cannot specify both --host and --context"
    );
}
