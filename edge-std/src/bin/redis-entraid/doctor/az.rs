//! Commands that mend what is wrong, with what is known in place of what they need.
//!
//! Their options were looked up in the sources of `azure-cli` 2.91 and of its extension `redisenterprise`;
//! `--access-string` in the extension's own tests, `update --public-network-access` in scripts of others. None
//! was tried on Azure.

use super::problem::Known;

/// A command, as it is typed: its words, and then its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Command(Vec<String>);

impl Command {
    /// Begins with `words`.
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self(vec![words.into()])
    }

    /// Adds an option with its value.
    #[must_use]
    pub(crate) fn with(mut self, option: impl Into<String>) -> Self {
        self.0.push(option.into());
        self
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        self.0.join(" ")
    }

    /// In lines of up to `width` columns, which a shell takes for one.
    pub(crate) fn lines(&self, width: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for part in &self.0 {
            match lines.last_mut() {
                Some(line) if line.len() + part.len() + 3 <= width => {
                    line.push(' ');
                    line.push_str(part);
                }
                Some(line) => {
                    line.push_str(" \\");
                    lines.push(format!("  {part}"));
                }
                None => lines.push(part.clone()),
            }
        }
        lines
    }
}

/// A command about the cache.
pub(crate) fn cache(verb: &str, known: &Known) -> Command {
    Command::new(format!("az redisenterprise {verb}"))
        .with(format!("--cluster-name {}", name(&known.host)))
        .with("--resource-group <resource-group>")
}

/// Asks for a property of the cache.
pub(crate) fn show(property: &str, known: &Known) -> Command {
    cache("show", known).with(format!("--query {property}")).with("--output tsv")
}

/// Asks for a property of its database: there is one, and these commands take no name of it.
pub(crate) fn show_database(property: &str, known: &Known) -> Command {
    cache("database show", known).with(format!("--query {property}")).with("--output tsv")
}

/// Lists who may log in.
pub(crate) fn assignments(known: &Known) -> Command {
    about_assignments("list", known)
}

/// A command about whether this identity may log in.
pub(crate) fn assignment(verb: &str, known: &Known) -> Command {
    let object_id = known.object_id.as_deref().unwrap_or("<object-id>");
    // Older versions of the extension take no hyphens in it.
    let name = object_id.replace('-', "");
    about_assignments(verb, known).with(format!("--access-policy-assignment-name {name}"))
}

fn about_assignments(verb: &str, known: &Known) -> Command {
    cache(&format!("database access-policy-assignment {verb}"), known)
        .with("--database-name default")
}

/// Lets the identity log in, and do all.
pub(crate) fn assign(known: &Known) -> Command {
    let object_id = known.object_id.as_deref().unwrap_or("<object-id>");
    assignment("create", known)
        .with("--access-policy-name default")
        .with(format!("--object-id {object_id}"))
}

/// Opens a way through a network security group.
pub(crate) fn allow(rule: &str, to: &str, ports: &str) -> Command {
    Command::new("az network nsg rule create")
        .with("--resource-group <resource-group>")
        .with("--nsg-name <nsg>")
        .with(format!("--name {rule}"))
        .with("--priority <100-4096>")
        .with("--direction Outbound")
        .with("--access Allow")
        .with("--protocol Tcp")
        .with(format!("--destination-address-prefixes {to}"))
        .with(format!("--destination-port-ranges {ports}"))
}

/// The name of the cache: the first part of its host name.
fn name(host: &str) -> &str {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    match host.split('.').next() {
        Some(name) if !is_address && !name.is_empty() => name,
        _ => "<cache>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_this_cache_and_this_identity() {
        let known = Known {
            host: "orders.westeurope.redis.azure.net".into(),
            object_id: Some("1111-22".into()),
            ..Known::default()
        };
        assert_eq!(
            assign(&known).line(),
            "az redisenterprise database access-policy-assignment create --cluster-name orders \
            --resource-group <resource-group> --database-name default \
            --access-policy-assignment-name 111122 --access-policy-name default --object-id 1111-22"
        );
        let list = assignments(&known).line();
        assert!(list.ends_with(
            "list --cluster-name orders --resource-group <resource-group> --database-name default"
        ));
        let address = Known { host: "10.1.2.3".into(), ..Known::default() };
        assert!(show("hostName", &address).line().contains("--cluster-name <cache> "));
    }

    #[test]
    fn a_command_about_the_database_itself_takes_no_name_of_it() {
        let line = show_database("port", &Known { host: "orders.x".into(), ..Known::default() });
        assert_eq!(
            line.line(),
            "az redisenterprise database show --cluster-name orders \
            --resource-group <resource-group> --query port --output tsv"
        );
    }

    #[test]
    fn the_lines_of_a_command_are_one_for_a_shell() {
        let command = Command::new("az a").with("--b 1").with("--c 2").with("--d 3");
        assert_eq!(command.lines(80), ["az a --b 1 --c 2 --d 3"]);
        assert_eq!(command.lines(17), ["az a --b 1 \\", "  --c 2 --d 3"]);
    }
}
