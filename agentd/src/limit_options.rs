//! Options of `agentd run` that say what commands may take, whose they are, and what they get of the
//! daemon's environment.

use clap::Args;

use crate::options::OptionsError;
use crate::process::{CgroupUse, Containment, Environment, Limits, LoginUser, SandboxUse};
use crate::user::Identity;

/// Limits, user and environment of commands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Commands of agents")]
pub struct LimitOptions {
    /// Processes and threads of one command, with everything that it starts; 0: no limit
    #[arg(long, env = "HOLDFAST_PROCESS_PIDS_MAX", value_name = "N", default_value_t = 512)]
    pub process_pids_max: u64,

    /// Processes and threads of all commands together; 0: no limit
    #[arg(long, env = "HOLDFAST_WORKSPACE_PIDS_MAX", value_name = "N", default_value_t = 4_096)]
    pub workspace_pids_max: u64,

    /// Memory of one command, such as `4G`
    #[arg(long, env = "HOLDFAST_PROCESS_MEMORY_MAX", value_name = "SIZE", value_parser = size)]
    pub process_memory_max: Option<u64>,

    /// Memory of all commands together, such as `12G`
    #[arg(long, env = "HOLDFAST_WORKSPACE_MEMORY_MAX", value_name = "SIZE", value_parser = size)]
    pub workspace_memory_max: Option<u64>,

    /// Processors of one command, such as `1.5`
    #[arg(long, env = "HOLDFAST_PROCESS_CPUS_MAX", value_name = "N", value_parser = processors)]
    pub process_cpus_max: Option<f64>,

    /// Processors of all commands together
    #[arg(long, env = "HOLDFAST_WORKSPACE_CPUS_MAX", value_name = "N", value_parser = processors)]
    pub workspace_cpus_max: Option<f64>,

    /// Which control groups may be used
    #[arg(long, env = "HOLDFAST_CGROUPS", value_name = "USE", default_value = "auto")]
    pub cgroups: CgroupUse,

    /// What the sandbox of commands that may change nothing is made of
    #[arg(long, env = "HOLDFAST_SANDBOX", value_name = "USE", default_value = "auto")]
    pub sandbox: SandboxUse,

    /// The user that commands and files belong to, where that is not the daemon's; needs the right to
    /// become that user
    #[arg(long, env = "HOLDFAST_RUN_AS", value_name = "USER")]
    pub run_as: Option<String>,

    /// Variables of the daemon's environment that commands get as well
    #[arg(long, env = "HOLDFAST_PASS_ENV", value_name = "NAME,…", value_delimiter = ',')]
    pub pass_env: Vec<String>,
}

impl Default for LimitOptions {
    fn default() -> Self {
        let Containment { cgroups, workspace, process, sandbox, .. } = Containment::default();
        Self {
            process_pids_max: process.pids.unwrap_or(0),
            workspace_pids_max: workspace.pids.unwrap_or(0),
            process_memory_max: None,
            workspace_memory_max: None,
            process_cpus_max: None,
            workspace_cpus_max: None,
            cgroups,
            sandbox,
            run_as: None,
            pass_env: Vec::new(),
        }
    }
}

impl LimitOptions {
    /// How commands are held together. Looks the user up.
    pub fn containment(&self) -> Result<Containment, OptionsError> {
        let limits = |pids: u64, memory_bytes, cpus| Limits {
            pids: (pids > 0).then_some(pids),
            memory_bytes,
            cpus,
        };
        let process = limits(self.process_pids_max, self.process_memory_max, self.process_cpus_max);
        let workspace =
            limits(self.workspace_pids_max, self.workspace_memory_max, self.workspace_cpus_max);
        let identity = self.run_as.as_deref().map(identity).transpose()?;
        let (cgroups, sandbox) = (self.cgroups, self.sandbox);
        Ok(Containment { cgroups, workspace, process, identity, sandbox })
    }

    /// What commands get of this process's environment.
    #[must_use]
    pub fn environment(&self, identity: Option<&Identity>) -> Environment {
        let environment = Environment::read();
        let environment = match identity {
            Some(identity) => environment.as_user(LoginUser::of(identity.uid)),
            None => environment,
        };
        environment.with(&self.pass_env, std::env::vars_os())
    }
}

fn identity(name: &str) -> Result<Identity, OptionsError> {
    let unknown = || OptionsError::NoUser { name: name.to_owned() };
    let user = nix::unistd::User::from_name(name).ok().flatten().ok_or_else(unknown)?;
    let c_name = std::ffi::CString::new(name).map_err(|_| unknown())?;
    let groups = nix::unistd::getgrouplist(&c_name, user.gid).map_err(|_| unknown())?;
    let groups = groups.into_iter().map(nix::unistd::Gid::as_raw).collect();
    Ok(Identity { uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups })
}

/// `512M`, `4G`, `1073741824`; at least 1 MiB.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        unit => return Err(format!("{unit} is no unit: use K, M, G or T")),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number, such as 512M or 4G".to_owned())?;
    let bytes = number.checked_mul(1 << shift).ok_or("too large")?;
    if bytes < 1 << 20 { Err("the least is 1M".to_owned()) } else { Ok(bytes) }
}

fn processors(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number, such as 2 or 1.5".to_owned())?;
    if (0.01..=10_000.0).contains(&number) {
        Ok(number)
    } else {
        Err("it may be 0.01 to 10000".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        assert_eq!((size("4G"), size("512m")), (Ok(4 << 30), Ok(512 << 20)));
        assert_eq!((size("1048576"), size("2MiB")), (Ok(1 << 20), Ok(2 << 20)));
        for bad in ["", "G", "4X", "1K", "-4G", "99999999999999T", "4 G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn processors_are_a_positive_number() {
        assert_eq!(processors("1.5"), Ok(1.5));
        for bad in ["0", "-1", "NaN", "inf", "x", ""] {
            assert!(processors(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_containment_and_a_zero_is_no_limit() {
        assert_eq!(LimitOptions::default().containment().unwrap(), Containment::default());
        let none = LimitOptions { process_pids_max: 0, ..LimitOptions::default() };
        assert_eq!(none.containment().unwrap().process, Limits::default());
    }

    #[test]
    fn a_user_that_is_not_there_is_named() {
        let options =
            LimitOptions { run_as: Some("no-such-user".to_owned()), ..LimitOptions::default() };
        let error = options.containment().unwrap_err();
        assert!(error.to_string().contains("no-such-user"), "{error}");
    }
}
