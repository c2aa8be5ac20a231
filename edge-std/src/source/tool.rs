//! The command-line tools that a developer is signed in with.

use core::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::{Output, Stdio};

use redis_entraid_core::json;
use redis_entraid_core::source::{
    ConfigError, ErrorKind as SourceErrorKind, IoFailure, RESOURCE, SourceError,
};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::{AccessToken, FetchError, Request, TokenSource};

/// The person who is signed in to one of Azure's command-line tools, on a developer's machine.
///
/// The server knows the person by the object id in the token, and needs an access policy for it as for any
/// identity: `az ad signed-in-user show --query id` shows it.
///
/// ```no_run
/// use redis_entraid::source::CommandLineTool;
///
/// let person = CommandLineTool::azure_cli();
/// # let _ = person;
/// ```
#[derive(Clone, Debug)]
pub struct CommandLineTool {
    tool: Tool,
    program: PathBuf,
    resource: String,
    tenant: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Tool {
    Cli,
    PowerShell,
    DeveloperCli,
}

/// What PowerShell's answer begins with: a profile or a module may say something, too.
const MARK: &str = "redis-entraid-token:";

impl CommandLineTool {
    /// Runs `az account get-access-token`, of the Azure CLI.
    pub fn azure_cli() -> Self {
        Self::new(Tool::Cli, if cfg!(windows) { "az.cmd" } else { "az" })
    }

    /// Runs `Get-AzAccessToken` of the module Az.Accounts, by PowerShell 7.
    pub fn azure_powershell() -> Self {
        Self::new(Tool::PowerShell, "pwsh")
    }

    /// Runs `azd auth token`, of the Azure Developer CLI.
    pub fn azure_developer_cli() -> Self {
        Self::new(Tool::DeveloperCli, "azd")
    }

    fn new(tool: Tool, program: &str) -> Self {
        Self { tool, program: program.into(), resource: RESOURCE.to_owned(), tenant: None }
    }

    /// Runs the tool at this path, if it isn't found by its name.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        // It is run in another folder.
        let is_path = program.components().count() > 1;
        self.program = match is_path.then(|| std::path::absolute(&program)) {
            Some(Ok(absolute)) => absolute,
            _ => program,
        };
        self
    }

    /// Looks for what is no tenant and no resource: tools take more for a part of a command than they say.
    fn check(&self) -> Result<(), FetchError> {
        let plain = |text: &str, more: &str| {
            text.chars().all(|each| each.is_ascii_alphanumeric() || more.contains(each))
        };
        let tenant = self.tenant.as_deref().unwrap_or_default();
        match plain(tenant, ".-_") && plain(&self.resource, ".-_:/~") {
            true => Ok(()),
            false => Err(FetchError::configuration(
                "the tenant or the resource has characters that none has",
            )),
        }
    }

    /// Asks for a token of another tenant than the one that the tool is signed in to.
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Asks for another resource than [`RESOURCE`].
    #[must_use]
    pub fn with_resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = resource.into();
        self
    }

    fn command(&self) -> Command {
        let Self { tool, program, resource, tenant } = self;
        let mut command = Command::new(program);
        let tenant_option = match tool {
            Tool::Cli => {
                command.args(["account", "get-access-token", "--output", "json", "--resource"]);
                command.arg(resource);
                "--tenant"
            }
            Tool::DeveloperCli => {
                command.args(["auth", "token", "--output", "json", "--scope"]);
                command.arg(format!("{}/.default", resource.trim_end_matches('/')));
                "--tenant-id"
            }
            Tool::PowerShell => {
                let mut get = format!("Get-AzAccessToken -ResourceUrl '{resource}'");
                if let Some(tenant) = tenant {
                    get.push_str(&format!(" -TenantId '{tenant}'"));
                }
                // Since Az.Accounts 5 it is a SecureString; versions before warn of that.
                command.args(["-NoProfile", "-NonInteractive", "-Command"]).arg(format!(
                    "$ErrorActionPreference = 'Stop'; $WarningPreference = 'SilentlyContinue'; \
                    $token = ({get}).Token; if ($token -is [securestring]) {{ \
                    $token = [System.Net.NetworkCredential]::new('', $token).Password }}; \
                    Write-Output \"{MARK}$token\""
                ));
                return command;
            }
        };
        if let Some(tenant) = tenant {
            command.arg(tenant_option).arg(tenant);
        }
        command
    }

    /// The token in what the tool has said.
    fn token<'o>(&self, output: &'o [u8]) -> Option<&'o str> {
        let name = match self.tool {
            Tool::Cli => "accessToken",
            Tool::DeveloperCli => "token",
            Tool::PowerShell => {
                let text = core::str::from_utf8(output).ok()?;
                return text.lines().find_map(|line| line.trim().strip_prefix(MARK));
            }
        };
        let members = json::members(output).filter_map(Result::ok);
        let mut values = members.filter(|(key, _)| json::text_is(key, name));
        json::raw_text(values.next()?.1)
    }

    /// What makes it say a token.
    const fn login(&self) -> &'static str {
        match self.tool {
            Tool::Cli => "`az login`",
            Tool::PowerShell => "`Connect-AzAccount`",
            Tool::DeveloperCli => "`azd auth login`",
        }
    }
}

impl TokenSource for CommandLineTool {
    async fn fetch(&mut self, _: Request<'_>) -> Result<AccessToken, FetchError> {
        self.check()?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        #[cfg(unix)]
        {
            // No program of the current folder is run instead. The tools are scripts: what they
            // start ends with them.
            command.current_dir("/").process_group(0);
        }
        let output = output(command).await.map_err(|error| {
            let failure = match error.kind() {
                ErrorKind::NotFound => IoFailure::NotFound,
                _ => IoFailure::File,
            };
            let program = self.program.display();
            FetchError::new(SourceError::Io(failure), Ran(format!("{program}: {error}")))
        })?;
        let (said, failed) = (Zeroizing::new(output.stdout), output.stderr);
        if !output.status.success() {
            let ran = Ran(first_line(&failed));
            let signed_out =
                String::from_utf8_lossy(&failed).contains(self.login().trim_matches('`'));
            return Err(match signed_out {
                true => {
                    FetchError::new(SourceError::Config(ConfigError::Missing(self.login())), ran)
                }
                // The network, or a refusal of Entra: no other person takes this one's place.
                false => FetchError::of_kind(SourceErrorKind::Replication, ran),
            });
        }
        let token = self.token(&said).filter(|token| !token.is_empty());
        token.map(AccessToken::new).ok_or_else(|| SourceError::NoToken.into())
    }
}

/// Runs `command` to its end. All that it has started ends if this is dropped before.
async fn output(mut command: Command) -> io::Result<Output> {
    let child = command.spawn()?;
    #[cfg(unix)]
    let mut group = Group(child.id());
    let output = child.wait_with_output().await;
    #[cfg(unix)]
    {
        group.0 = None;
    }
    output
}

/// The processes of a tool, which are ended if it has not ended by itself.
#[cfg(unix)]
struct Group(Option<u32>);

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| rustix::process::Pid::from_raw(id.try_into().ok()?));
        if let Some(leader) = leader {
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

/// What a tool says of itself.
#[derive(Debug)]
struct Ran(String);

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Ran {}

/// The first line of `text` that says something, cut to what a person reads.
fn first_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|character| !character.is_control()).take(200).collect()
}
