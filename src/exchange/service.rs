//! The services that bring pushes to devices, as the deployment guide counts them.

/// Which push service a client subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SubscriberService {
    Apns,
    ApnsBeta,
    ApnsDev,
    ApnsLoad,
    ApnsTest,
    Fcm,
    FcmDev,
}

impl SubscriberService {
    pub(crate) const ALL: [Self; 7] = [
        Self::Apns,
        Self::ApnsBeta,
        Self::ApnsDev,
        Self::ApnsLoad,
        Self::ApnsTest,
        Self::Fcm,
        Self::FcmDev,
    ];

    /// The guide's name, also the label's value.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Apns => "APNS",
            Self::ApnsBeta => "APNS:beta",
            Self::ApnsDev => "APNS:dev",
            Self::ApnsLoad => "APNS:load",
            Self::ApnsTest => "APNS:test",
            Self::Fcm => "FCM",
            Self::FcmDev => "FCM:dev",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    pub(crate) fn is_apns(self) -> bool {
        !matches!(self, Self::Fcm | Self::FcmDev)
    }
}
