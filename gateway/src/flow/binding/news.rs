//! Addresses that were not trusted before, for whoever keeps a copy of them: the kernel's sets of candidates.
//!
//! Nothing is kept until somebody has asked once, and never more than a fixed number: whoever asks too seldom is told to
//! look at everything.

use std::net::IpAddr;

/// New addresses kept until they are asked for; 17 bytes each.
const NEWCOMERS_MAX: usize = 65_536;

/// What is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// These addresses, in the order learnt; one of several names as often.
    Addresses(Vec<IpAddr>),
    /// More than were kept, or nobody asked before.
    Everything,
}

/// New addresses since they were last asked for.
#[derive(Default)]
pub(super) struct Newcomers {
    /// None: nobody asked, or there were too many.
    kept: Option<Vec<IpAddr>>,
}

impl Newcomers {
    /// Notes an address.
    pub(super) fn add(&mut self, address: IpAddr) {
        match &mut self.kept {
            Some(kept) if kept.len() < NEWCOMERS_MAX => kept.push(address),
            kept => *kept = None,
        }
    }

    /// Takes what there is.
    pub(super) fn take(&mut self) -> News {
        self.kept.replace(Vec::new()).map_or(News::Everything, News::Addresses)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// An address for each number.
    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from(u32::try_from(number).unwrap()).into()
    }

    #[test]
    fn nothing_is_kept_for_nobody_and_no_more_than_the_limit_for_whoever_asks_seldom() {
        let mut newcomers = Newcomers::default();
        newcomers.add(address(1));
        assert!(newcomers.kept.is_none());
        assert_eq!(newcomers.take(), News::Everything);
        assert_eq!(newcomers.take(), News::Addresses(Vec::new()));
        let all: Vec<_> = (0..NEWCOMERS_MAX).map(address).collect();
        all.iter().for_each(|one| newcomers.add(*one));
        assert_eq!(newcomers.take(), News::Addresses(all.clone()));
        all.iter().chain([&address(0)]).for_each(|one| newcomers.add(*one));
        newcomers.add(address(1));
        assert_eq!(newcomers.take(), News::Everything);
        newcomers.add(address(2));
        assert_eq!(newcomers.take(), News::Addresses(vec![address(2)]));
    }
}
