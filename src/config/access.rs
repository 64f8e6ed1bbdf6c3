//! Who may ask how often, and which proxies are believed when they say for whom they ask.

use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessConfig {
    pub session_lifetime_s: u64,
    pub wrong_key_delay_max_ms: u64,
    pub address_requests_per_s: f64,
    pub address_burst_requests: u32,
    pub key_requests_per_s: f64,
    pub key_burst_requests: u32,
    pub clients_max: usize,
}

impl AccessConfig {
    /// Key, value and reason of what is out of bounds.
    pub(super) fn wrong(&self) -> Option<(&'static str, String, &'static str)> {
        for (key, rate) in [
            ("access.address_requests_per_s", self.address_requests_per_s),
            ("access.key_requests_per_s", self.key_requests_per_s),
        ] {
            if !rate.is_finite() || rate < 0.0 {
                return Some((key, rate.to_string(), "0 (no limit) or more"));
            }
        }
        for (key, burst) in [
            ("access.address_burst_requests", self.address_burst_requests),
            ("access.key_burst_requests", self.key_burst_requests),
        ] {
            if burst == 0 {
                return Some((key, burst.to_string(), "at least 1"));
            }
        }
        (self.clients_max == 0).then(|| ("access.clients_max", "0".into(), "at least 1"))
    }
}

/// One address, or all that begin with the same bits: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AddressRange {
    address: IpAddr,
    bits: u8,
}

/// A text that is no [`AddressRange`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a range like 10.0.0.0/8")]
pub struct AddressRangeError(String);

impl AddressRange {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.bits);
                let first = |address: u32| address.checked_shr(shift).unwrap_or(0);
                first(own.to_bits()) == first(other.to_bits())
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.bits);
                let first = |address: u128| address.checked_shr(shift).unwrap_or(0);
                first(own.to_bits()) == first(other.to_bits())
            }
            _ => false,
        }
    }
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || AddressRangeError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        if bits > all { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl TryFrom<String> for AddressRange {
    type Error = AddressRangeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_begins_alike() {
        let holds = |range: &str, address: &str| {
            let range: AddressRange = range.parse().expect("a range");
            range.contains(address.parse().expect("an address"))
        };
        assert!(holds("10.0.0.0/8", "10.200.3.4") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.1.2.3", "10.1.2.3") && !holds("10.1.2.3", "10.1.2.4"));
        assert!(holds("10.1.2.3", "::ffff:10.1.2.3") && holds("0.0.0.0/0", "8.8.8.8"));
        assert!(holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe80::1"));
        assert!(holds("::1", "::1") && !holds("::/0", "1.2.3.4") && holds("::/0", "fd00::1"));
        for wrong in ["", "proxy", "10.0.0.0/33", "::1/129", "10.0.0.0/x", "10.0.0.1:80"] {
            assert!(wrong.parse::<AddressRange>().is_err(), "{wrong}");
        }
    }
}
