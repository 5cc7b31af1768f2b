//! `kalit login --host`: a real ssh and a real sshd on loopback between two homes. The login ends in
//! the far one alone.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kalit_journeys::authserver::{AuthorizationServer, Options};
use kalit_journeys::http::fetch;
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{TestHome, Version, read_json, release};
use kalit_journeys::process::binary;
use kalit_journeys::wait::until_some;

const PROFILE: &str = "openai:ada@example.com";
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_address_of_the_last_page_is_pasted_here_and_the_login_is_stored_there() -> Result<()> {
    let started = Instant::now();
    let scene = Scene::new(Gate::Tcp).await?;
    let mut login = scene
        .here
        .start(&["login", "openai", "--host", "gate", "--no-browser"])?;
    let mut stdin = login.take_stdin().context("no stdin")?;
    let server = scene.server.url();
    let is_address =
        |line: &str| (line.starts_with(&server) && line.contains("redirect_uri")).then(|| line.to_owned());
    let address = login.line("the address", LIMIT, is_address).await?;
    let last_page = scene.server.consent(&address, "allow").await?;
    writeln!(stdin, "{last_page}")?;
    let status = login.end(LIMIT).await?;
    ensure!(status.success(), "{}", login.output());
    scene.is_there_alone(&[&last_page])?;
    assert!(!scene.bin.join("opened").exists(), "no browser was opened");
    println!("pasted: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn the_browser_here_answers_the_listener_there_through_the_tunnel() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a network of its own for the far side needs root");
        return Ok(());
    }
    let started = Instant::now();
    let scene = Scene::new(Gate::OwnNetwork).await?;
    let mut login = scene.here.start(&["login", "openai", "--host", "gate"])?;
    let opened = scene.bin.join("opened");
    let written = || {
        fs::read_to_string(&opened)
            .ok()
            .filter(|text| text.ends_with('\n'))
    };
    let address = until_some("the browser", LIMIT, written)
        .await
        .with_context(|| login.output())?;
    let last_page = scene.server.consent(address.trim(), "allow").await?;
    let (code, _) = fetch(&last_page).await?;
    assert_eq!(code, 200);
    let status = login.end(LIMIT).await?;
    ensure!(status.success(), "{}", login.output());
    scene.is_there_alone(&[&last_page])?;
    println!("through the tunnel: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn what_keeps_it_from_working_has_a_code() -> Result<()> {
    let scene = Scene::new(Gate::Tcp).await?;
    let login = |host| ["login", "openai", "--host", host, "--json"];
    let bad = scene.here.run(&login("-oProxyCommand=touch x")).await?;
    // clap itself refuses what begins like an option.
    assert_eq!(bad.code, 64, "{bad:?}");
    let bad = scene.here.run(&login("gate;x")).await?;
    assert_eq!(bad.error_code()?, "usage");

    let unreachable = scene.here.run(&login("nowhere")).await?;
    assert_eq!(unreachable.error_code()?, "remote.unreachable", "{unreachable:?}");

    let taken = TcpListener::bind(("127.0.0.1", scene.port))?;
    let busy = scene.here.run(&login("gate")).await?;
    assert_eq!(busy.error_code()?, "login.port_busy", "{busy:?}");
    drop(taken);

    fs::remove_file(scene.far_bin.join("kalit"))?;
    let neither = scene.here.run(&login("gate")).await?;
    assert_eq!(neither.error_code()?, "remote.no_program", "{neither:?}");

    let no_ssh = scene
        .here
        .clone()
        .with_var("PATH", scene.far_bin.display().to_string());
    let missing = no_ssh.run(&login("gate")).await?;
    assert_eq!(missing.error_code()?, "remote.no_ssh", "{missing:?}");
    Ok(())
}

/// How the far side is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// A server on a high port of loopback.
    Tcp,
    /// A server in a network of its own, so that both sides may listen on the same port; the
    /// authorization server is led there.
    OwnNetwork,
}

struct Scene {
    server: AuthorizationServer,
    here: Kalit,
    home: TestHome,
    there: TestHome,
    bin: PathBuf,
    far_bin: PathBuf,
    /// Where the browser's answer comes.
    port: u16,
    _children: Vec<Child>,
}

impl Scene {
    async fn new(gate: Gate) -> Result<Self> {
        let server = AuthorizationServer::start(Options::default()).await?;
        let release = release(Version::V2026_6_1).await?;
        let port = free_port()?;
        let manifest = server.manifest(&[port]);
        let (home, there) = (TestHome::new()?, TestHome::new()?);
        let far = Kalit::new(&there, &release, &manifest)?;
        let far_bin = there.path().join("far-bin");
        fs::create_dir(&far_bin)?;
        symlink(binary("KALIT_BIN", "kalit")?, far_bin.join("kalit"))?;
        let mut variables = far.variables().clone();
        variables.insert("PATH".to_owned(), format!("{}:/usr/bin:/bin", far_bin.display()));

        let ssh = home.path().join("ssh");
        fs::create_dir(&ssh)?;
        for key in ["host", "person"] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(ssh.join(key)))?;
        }
        fs::copy(ssh.join("person.pub"), ssh.join("authorized"))?;
        let host_key = fs::read_to_string(ssh.join("host.pub"))?;
        fs::write(ssh.join("known"), format!("gate {host_key}"))?;
        let sshd_port = free_port()?;
        let set: Vec<String> = variables
            .iter()
            .map(|(name, value)| format!("\"{name}={value}\""))
            .collect();
        let dir = ssh.display();
        fs::write(
            ssh.join("sshd_config"),
            format!(
                "ListenAddress 127.0.0.1\nPort {sshd_port}\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/authorized\n\
                 PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\nSetEnv {}\n",
                set.join(" ")
            ),
        )?;
        let sshd = "/usr/sbin/sshd";
        ensure!(Path::new(sshd).exists(), "openssh-server is not installed");
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd")?;
        }
        let mut children = Vec::new();
        let way = match gate {
            Gate::Tcp => {
                let mut server = Command::new(sshd);
                server.args(["-D", "-e", "-f"]).arg(ssh.join("sshd_config"));
                children.push(Child::start(&mut server)?);
                until_some("sshd", LIMIT, || {
                    std::net::TcpStream::connect(("127.0.0.1", sshd_port)).ok()
                })
                .await?;
                format!("HostName 127.0.0.1\nPort {sshd_port}\n")
            }
            Gate::OwnNetwork => {
                let mut network = Command::new("unshare");
                // SIOCSIFFLAGS with IFF_UP: loopback, without a package for it
                network.args(["--net", "perl", "-e"]).arg(
                    "socket(my $s, 2, 2, 0) or die; my $up = pack('a16 s x22', 'lo', 1); ioctl($s, 0x8914, $up) or die $!; \
                     $| = 1; print \"up\\n\"; sleep 600",
                );
                network.stdout(Stdio::piped());
                let mut network = Child::start(&mut network)?;
                network.first_line()?;
                let pid = network.0.id();
                children.push(network);
                let back = server.url().rsplit(':').next().context("no port")?.to_owned();
                format!(
                    "ProxyCommand nsenter --net=/proc/{pid}/ns/net {sshd} -i -f {dir}/sshd_config\n\
                     RemoteForward 127.0.0.1:{back} 127.0.0.1:{back}\n"
                )
            }
        };
        let user = String::from_utf8(Command::new("id").arg("-un").output()?.stdout)?;
        fs::write(
            ssh.join("config"),
            format!(
                "Host nowhere\n  HostName 127.0.0.1\n  Port 1\nHost gate\n  {}\nHost *\n  User {user}\n  HostKeyAlias gate\n  \
                 IdentityFile {dir}/person\n  IdentitiesOnly yes\n  UserKnownHostsFile {dir}/known\n  BatchMode yes\n",
                way.trim().replace('\n', "\n  "),
                user = user.trim()
            ),
        )?;
        let bin = home.path().join("own-bin");
        fs::create_dir(&bin)?;
        write_script(
            &bin.join("ssh"),
            &format!(
                "echo \"$@\" >> {0}/asked\nexec /usr/bin/ssh -F {dir}/config \"$@\"",
                bin.display()
            ),
        )?;
        write_script(
            &bin.join("xdg-open"),
            &format!("echo \"$1\" > {0}/opened", bin.display()),
        )?;
        let here = Kalit::new(&home, &release, &manifest)?;
        let path = format!("{}:{}:/usr/bin:/bin", bin.display(), here.variables()["PATH"]);
        Ok(Self {
            server,
            here: here.with_var("PATH", path),
            home,
            there,
            bin,
            far_bin,
            port,
            _children: children,
        })
    }

    /// The far store has the login; no file of this home has anything of it, and no program was
    /// started with it, nor with what is in these addresses.
    fn is_there_alone(&self, addresses: &[&str]) -> Result<()> {
        let stored = read_json(&self.there.profiles_path("main"))?;
        let login = &stored["profiles"][PROFILE];
        let mut secrets: Vec<String> = ["access", "refresh"]
            .iter()
            .filter_map(|name| login[*name].as_str().map(str::to_owned))
            .collect();
        ensure!(secrets.len() == 2, "{stored}");
        for address in addresses {
            let address = url::Url::parse(address)?;
            secrets.extend(
                address
                    .query_pairs()
                    .map(|(_, value)| value.into_owned())
                    .filter(|value| value.len() > 15),
            );
        }
        ensure!(!self.home.profiles_path("main").exists(), "a store here");
        let asked = fs::read_to_string(self.bin.join("asked"))?;
        for secret in &secrets {
            ensure!(!asked.contains(secret), "ssh was started with a secret");
        }
        for file in files_below(self.home.path())? {
            // What the person's terminal showed, and the address that the browser was given.
            let bytes = fs::read(&file).unwrap_or_default();
            for token in &secrets[..2] {
                let held = bytes
                    .windows(token.len())
                    .any(|window| window == token.as_bytes());
                ensure!(!held, "{} holds a token", file.display());
            }
        }
        Ok(())
    }
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn write_script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Ended with the test.
struct Child(std::process::Child);

impl Child {
    fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(
            command
                .stdin(Stdio::null())
                .spawn()
                .with_context(|| format!("{command:?}"))?,
        ))
    }

    fn first_line(&mut self) -> Result<String> {
        let stdout = self.0.stdout.take().context("no stdout")?;
        let mut line = String::new();
        std::io::BufReader::new(stdout).read_line(&mut line)?;
        ensure!(!line.is_empty(), "it ended at once");
        Ok(line)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
