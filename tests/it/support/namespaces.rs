//! Machines of our own: network namespaces, each with a way to the database and a way to the clients,
//! which can be cut one by one. They go with the value; what a killed run left goes at the next one.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

/// Which of a machine's two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToDatabase,
    ToClients,
}

impl Way {
    const BOTH: [Self; 2] = [Self::ToDatabase, Self::ToClients];

    fn letter(self) -> char {
        match self {
            Self::ToDatabase => 'd',
            Self::ToClients => 'c',
        }
    }
}

pub struct Namespaces {
    /// Our process and a letter: other runs on this machine have others.
    tag: String,
    machines: usize,
    /// The first two numbers after 10 of the database's network; the clients' is the next one.
    network: (u8, u8),
}

impl Namespaces {
    /// So many machines. Fails, with a clear line, where there can be none.
    pub fn make(machines: usize) -> Self {
        static LAST: AtomicU8 = AtomicU8::new(0);
        let process = std::process::id();
        let letter = char::from(b'a' + LAST.fetch_add(1, Ordering::Relaxed) % 26);
        remove_what_dead_runs_left();
        let [_, _, high, low] = process.to_be_bytes();
        let network = (96 + high % 64, low & 0xfe);
        let made = Self { tag: format!("{process}{letter}"), machines, network };
        if let Err(why) = made.build() {
            panic!(
                "this test needs network namespaces, and could not make them (as root, with the package iproute2): {why}"
            );
        }
        made
    }

    fn build(&self) -> Result<(), String> {
        for way in Way::BOTH {
            let bridge = self.bridge(way);
            ip(&format!("link add {bridge} type bridge"))?;
            ip(&format!("addr add {}/24 dev {bridge}", self.own_address(way)))?;
            ip(&format!("link set {bridge} up"))?;
        }
        for machine in 0..self.machines {
            let name = self.name(machine);
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
            for way in Way::BOTH {
                let (ours, inside) = (self.cable(way, machine), format!("eth{}", way.letter()));
                ip(&format!("link add {ours} type veth peer name {inside} netns {name}"))?;
                ip(&format!("link set {ours} master {} up", self.bridge(way)))?;
                ip(&format!("-n {name} addr add {}/24 dev {inside}", self.address(way, machine)))?;
                ip(&format!("-n {name} link set {inside} up"))?;
            }
        }
        Ok(())
    }

    fn name(&self, machine: usize) -> String {
        format!("mw{}n{machine}", self.tag)
    }

    fn bridge(&self, way: Way) -> String {
        format!("mw{}{}", way.letter(), self.tag)
    }

    fn cable(&self, way: Way, machine: usize) -> String {
        format!("mw{}{}n{machine}", way.letter(), self.tag)
    }

    fn at(&self, way: Way, last: u8) -> Ipv4Addr {
        let (second, third) = self.network;
        Ipv4Addr::new(10, second, third + u8::from(way == Way::ToClients), last)
    }

    /// Where the database listens for the machines, or where clients come from.
    pub fn own_address(&self, way: Way) -> Ipv4Addr {
        self.at(way, 254)
    }

    pub fn address(&self, way: Way, machine: usize) -> Ipv4Addr {
        self.at(way, u8::try_from(machine + 1).expect("a few machines"))
    }

    /// The network of the machines' ways, as `10.96.2.0/24`.
    pub fn network(&self, way: Way) -> String {
        format!("{}/24", self.at(way, 0))
    }

    /// What is put in front of a command that is to run on that machine.
    pub fn wrapper(&self, machine: usize) -> [String; 4] {
        ["ip".to_owned(), "netns".to_owned(), "exec".to_owned(), self.name(machine)]
    }

    /// Nothing passes any more, and nobody is told; or everything passes again.
    pub fn cut(&self, way: Way, machine: usize, cut: bool) {
        let standing = if cut { "down" } else { "up" };
        ip(&format!("link set {} {standing}", self.cable(way, machine))).expect("the cable is there");
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // Whatever is missing was never made.
        for machine in 0..self.machines {
            for way in Way::BOTH {
                let _ = ip(&format!("link del {}", self.cable(way, machine)));
            }
            let _ = ip(&format!("netns del {}", self.name(machine)));
        }
        for way in Way::BOTH {
            let _ = ip(&format!("link del {}", self.bridge(way)));
        }
    }
}

fn ip(arguments: &str) -> Result<String, String> {
    let told = Command::new("ip").args(arguments.split(' ')).output();
    let told = told.map_err(|cause| format!("ip: {cause}"))?;
    match told.status.success() {
        true => Ok(String::from_utf8_lossy(&told.stdout).into_owned()),
        false => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&told.stderr).trim())),
    }
}

/// Names say whose they were.
fn remove_what_dead_runs_left() {
    let dead = |name: &str| {
        let rest = name.strip_prefix("mw")?;
        let digits = rest.trim_start_matches(['d', 'c']);
        let process: String = digits.chars().take_while(char::is_ascii_digit).collect();
        let letter = digits.chars().nth(process.len());
        let ours = !process.is_empty() && letter.is_some_and(|letter| letter.is_ascii_lowercase());
        (ours && !Path::new("/proc").join(process).exists()).then_some(())
    };
    for line in ip("netns list").unwrap_or_default().lines() {
        let name = line.split(' ').next().unwrap_or_default();
        if dead(name).is_some() {
            let _ = ip(&format!("netns del {name}"));
        }
    }
    for line in ip("-o link show").unwrap_or_default().lines() {
        let name = line.split(": ").nth(1).and_then(|name| name.split('@').next()).unwrap_or_default();
        if dead(name).is_some() {
            let _ = ip(&format!("link del {name}"));
        }
    }
}

impl Namespaces {
    pub fn client_door(&self, machine: usize) -> (IpAddr, u16) {
        (IpAddr::V4(self.address(Way::ToClients, machine)), 7080)
    }
}
