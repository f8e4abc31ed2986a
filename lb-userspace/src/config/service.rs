//! Virtual services and real servers as the operator names them; no value of these types is bad.

use std::{fmt, net::Ipv4Addr, num::NonZeroU16, str::FromStr};

use lb_common::{Address, Be16, table::ServiceKey, wire};
use serde::{Deserialize, Serialize, de};

use super::{Scheduler, SchedulerFlag, SchedulerName, TableSize};

/// Why a text names no virtual service, server, scheduler or weight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not of the form `tcp:VIP:PORT`.
    #[error(
        "`{0}` is no virtual service; write tcp:VIP:PORT or udp:VIP:PORT, for example tcp:192.168.19.100:80"
    )]
    Service(String),
    /// A protocol that is not balanced.
    #[error("`{service}` has protocol `{protocol}`; tcp and udp can be balanced")]
    Protocol {
        /// The service.
        service: String,
        /// What stands where the protocol should.
        protocol: String,
    },
    /// An IPv6 address.
    #[error("`{0}` is an IPv6 address, which is not supported yet; use IPv4")]
    Ipv6(String),
    /// Not an address.
    #[error("`{0}` is no IPv4 address; write four numbers, for example 192.168.19.2")]
    Address(String),
    /// Not a host's address.
    #[error("`{0}` is not a unicast address; give the address of one host")]
    NotUnicast(Ipv4Addr),
    /// Not a port.
    #[error("`{service}` has port `{port}`; ports are 1 to 65535")]
    Port {
        /// The service.
        service: String,
        /// What stands where the port should.
        port: String,
    },
    /// Not a scheduler.
    #[error("`{0}` is no scheduler; rr, wrr, sh, dh, mh and fo are")]
    Scheduler(String),
    /// Not a flag of any scheduler.
    #[error("`{0}` is no scheduler flag; sh-fallback, sh-port, mh-fallback and mh-port are")]
    SchedulerFlag(String),
    /// A flag of another scheduler.
    #[error(
        "incompatible scheduler flag `{flag}`: {scheduler} takes {}; remove it or choose another scheduler",
        match scheduler {
            SchedulerName::Sh => "sh-fallback and sh-port",
            SchedulerName::Mh => "mh-fallback and mh-port",
            _ => "no flags",
        }
    )]
    IncompatibleFlag {
        /// The flag.
        flag: SchedulerFlag,
        /// The scheduler that does not have it.
        scheduler: SchedulerName,
    },
    /// A size for a table that is not there.
    #[error("scheduler {0} has no table size; mh has, leave it out for others")]
    NoTable(SchedulerName),
    /// Not the size that a table of `mh` can have.
    #[error(
        "table size {0} is no prime from {least} to {most}; ip_vs has 4093, 65537 shares more evenly",
        least = TableSize::RANGE[0],
        most = TableSize::RANGE[1]
    )]
    TableSize(i64),
    /// Not a weight.
    #[error("weight {0} is out of range; weights are 0 to 2147483647")]
    Weight(i64),
}

/// A transport protocol that can be balanced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Tcp => wire::TCP,
            Self::Udp => wire::UDP,
        }
    }
}

/// What names a virtual service: protocol, VIP and port; written `tcp:192.168.19.100:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAddress {
    /// The protocol.
    pub protocol: Protocol,
    /// The VIP.
    pub vip: Ipv4Addr,
    /// The port.
    pub port: NonZeroU16,
}

impl ServiceAddress {
    /// The key by which the data path finds the service.
    pub fn key(self) -> ServiceKey {
        let Self { protocol, vip, port } = self;
        ServiceKey::new(vip.into(), Be16::new(port.get()), protocol.number())
    }

    /// The service with this key, if it is one that can be named.
    pub fn from_key(key: &ServiceKey) -> Option<Self> {
        let protocol = match key.protocol {
            wire::TCP => Protocol::Tcp,
            wire::UDP => Protocol::Udp,
            _ => return None,
        };
        Some(Self { protocol, vip: ipv4(key.address)?, port: NonZeroU16::new(key.port.host())? })
    }
}

/// The IPv4 address in a table's address.
pub(crate) fn ipv4(address: Address) -> Option<Ipv4Addr> {
    address.is_v4().then(|| address.v4_octets().into())
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.protocol.name(), self.vip, self.port)
    }
}

impl FromStr for ServiceAddress {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let none = || NameError::Service(text.into());
        let (protocol, rest) = text.split_once(':').ok_or_else(none)?;
        let (address, port) = rest.rsplit_once(':').ok_or_else(none)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => {
                return Err(NameError::Protocol {
                    service: text.into(),
                    protocol: protocol.into(),
                });
            }
        };
        let vip = unicast(address)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port
            .parse()
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| NameError::Port { service: text.into(), port: port.into() })?;
        Ok(Self { protocol, vip, port })
    }
}

/// Reads the address of one host.
pub fn unicast(text: &str) -> Result<Ipv4Addr, NameError> {
    let address: Ipv4Addr = text.parse().map_err(|_| {
        let v6 = text.trim_start_matches('[').trim_end_matches(']');
        if v6.parse::<std::net::Ipv6Addr>().is_ok() {
            NameError::Ipv6(v6.into())
        } else {
            NameError::Address(text.into())
        }
    })?;
    // 0/8 is "this network", 240/4 is reserved and holds the broadcast (RFC 6890).
    let [first, ..] = address.octets();
    if first == 0 || address.is_loopback() || address.is_multicast() || first >= 240 {
        return Err(NameError::NotUnicast(address));
    }
    Ok(address)
}

/// A real server's weight, 0 to 2147483647 as with IPVS; 0 takes no new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u32);

impl Weight {
    /// The largest.
    pub const MAX: u32 = i32::MAX as u32;

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The weight that a table holds.
    pub(crate) const fn from_table(weight: u32) -> Self {
        Self(weight)
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<i64> for Weight {
    type Error = NameError;

    fn try_from(number: i64) -> Result<Self, NameError> {
        let weight = u32::try_from(number).ok().filter(|&weight| weight <= Self::MAX);
        weight.map(Self).ok_or(NameError::Weight(number))
    }
}

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: i64 = text
            .parse()
            .map_err(|_| format!("`{text}` is no weight; weights are 0 to {}", Self::MAX))?;
        Self::try_from(number).map_err(|error| error.to_string())
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A real server as a destination of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Its address, where the tunnel ends.
    pub address: Ipv4Addr,
    /// Its weight.
    pub weight: Weight,
}

/// A virtual service with its real servers, first picked first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualService {
    /// What names it.
    pub address: ServiceAddress,
    /// How it chooses.
    pub scheduler: Scheduler,
    /// Its real servers; no address twice, none the VIP.
    pub servers: Vec<Server>,
}

impl Serialize for ServiceAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ServiceAddress {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Weight {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(i64::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_written_as_it_is_read() {
        for text in ["tcp:192.168.19.100:80", "udp:10.0.0.1:65535"] {
            let service: ServiceAddress = text.parse().expect(text);
            assert_eq!(service.to_string(), text);
            assert_eq!(ServiceAddress::from_key(&service.key()), Some(service));
        }
    }

    #[test]
    fn what_is_no_service_is_refused_with_what_is_wrong() {
        let refused = |text: &str| text.parse::<ServiceAddress>().expect_err(text).to_string();
        assert!(refused("192.168.19.100:80").contains("write tcp:VIP:PORT"));
        assert!(refused("tcp").contains("write tcp:VIP:PORT"));
        assert!(refused("tcp:10.0.0.1").contains("write tcp:VIP:PORT"));
        assert!(refused("sctp:10.0.0.1:80").contains("protocol `sctp`"));
        assert!(refused("tcp:[fd00::1]:80").contains("`fd00::1` is an IPv6 address"));
        assert!(refused("tcp:10.0.1:80").contains("`10.0.1` is no IPv4 address"));
        for port in ["0", "65536", "", "+80", "http"] {
            assert!(refused(&format!("tcp:10.0.0.1:{port}")).contains("ports are 1 to 65535"));
        }
        for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
            assert!(refused(&format!("tcp:{address}:80")).contains("not a unicast address"));
        }
    }

    #[test]
    fn weights_are_those_of_ipvs() {
        assert_eq!(Weight::try_from(2_147_483_647).map(Weight::get), Ok(2_147_483_647));
        assert!(Weight::try_from(2_147_483_648).is_err());
        assert!(Weight::try_from(-1).is_err());
    }
}
