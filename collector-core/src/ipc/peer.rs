//! Who may ask. Decides only; who it is, the kernel says.

use nix::unistd::Gid;
use tokio::net::unix::UCred;

/// Why a client is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Root, or the collector's own user.
    Full,
    /// A member of the group; it is told nothing about files that not everybody can read.
    Group,
}

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups, where they are known.
    pub(super) groups: Vec<u32>,
}

impl Peer {
    /// As the kernel noted it when the client connected. It notes no supplementary groups; they are read from the
    /// process. Should that be another one by now, the socket's mode has still kept out who is no member.
    pub(super) fn of(credentials: UCred) -> Self {
        let process = credentials.pid().and_then(|pid| procfs::process::Process::new(pid).ok());
        let groups = process.and_then(|process| process.status().ok()).map(|status| status.groups);
        Self { uid: credentials.uid(), gid: credentials.gid(), groups: groups.unwrap_or_default() }
    }

    /// What this client may, if the collector runs as `own_uid` and serves `group`.
    pub(super) fn access(&self, own_uid: u32, group: Option<Gid>) -> Option<Access> {
        let is_member = |group: Gid| self.gid == group.as_raw() || self.groups.contains(&group.as_raw());
        if self.uid == 0 || self.uid == own_uid {
            Some(Access::Full)
        } else {
            group.is_some_and(is_member).then_some(Access::Group)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_own_user_and_members_may_and_nobody_else() {
        let peer = |uid, gid, groups: &[u32]| Peer { uid, gid, groups: groups.to_vec() };
        let group = Some(Gid::from_raw(50));
        assert_eq!(peer(0, 0, &[]).access(1000, None), Some(Access::Full));
        assert_eq!(peer(1000, 7, &[]).access(1000, None), Some(Access::Full));
        assert_eq!(peer(1001, 50, &[50]).access(1000, None), None);
        assert_eq!(peer(1001, 50, &[]).access(1000, group), Some(Access::Group));
        assert_eq!(peer(1001, 7, &[8, 50]).access(1000, group), Some(Access::Group));
        assert_eq!(peer(1001, 7, &[8]).access(1000, group), None);
    }
}
