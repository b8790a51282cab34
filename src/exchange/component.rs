//! The parts of a call or chat system that counters and alarms belong to, and ourselves.

/// Whose counter or alarm it is. The names are the deployment guide's, but for the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Component {
    CallManager,
    MobilityManager,
    PushNotificationService,
    XcpConfigManager,
    XcpPush,
    Jabber,
    Tidegate,
}

impl Component {
    pub(crate) const ALL: [Self; 7] = [
        Self::CallManager,
        Self::MobilityManager,
        Self::PushNotificationService,
        Self::XcpConfigManager,
        Self::XcpPush,
        Self::Jabber,
        Self::Tidegate,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CallManager => "Cisco CallManager",
            Self::MobilityManager => "Cisco Mobility Manager",
            Self::PushNotificationService => "Cisco Push Notification Service",
            Self::XcpConfigManager => "Cisco XCP Config Manager",
            Self::XcpPush => "Cisco XCP Push",
            Self::Jabber => "Cisco Jabber",
            Self::Tidegate => "tidegate",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}
