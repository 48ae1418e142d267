//! From the SDK's types to ours. What cannot be read (an address of a form we do not know) is left out.

use std::net::IpAddr;

use aws_sdk_ec2::types::{InstanceStateName, NetworkInterface, Reservation, Tag};

use crate::{
    inventory::{Instance, Interface, MirrorSession, Subnet, Tags},
    model::Timestamp,
};

pub(super) fn interface(from: NetworkInterface) -> Interface {
    let address = |text: &str| text.parse::<IpAddr>().ok();
    let private = from.private_ip_addresses.unwrap_or_default();
    let mut public: Vec<IpAddr> = private
        .iter()
        .filter_map(|one| one.association.as_ref()?.public_ip.as_deref().and_then(address))
        .collect();
    public.extend(from.association.and_then(|a| a.public_ip.as_deref().and_then(address)));
    let primary = from.private_ip_address.as_deref().and_then(address);
    let mut addresses: Vec<IpAddr> = primary.into_iter().collect();
    addresses.extend(private.iter().filter_map(|one| address(one.private_ip_address.as_deref()?)));
    let v6 = from.ipv6_addresses.unwrap_or_default();
    addresses.extend(v6.iter().filter_map(|one| address(one.ipv6_address.as_deref()?)));
    for list in [&mut addresses, &mut public] {
        list.sort_unstable();
        list.dedup();
    }
    let attachment = from.attachment;
    Interface {
        id: from.network_interface_id.unwrap_or_default(),
        account: from.owner_id.unwrap_or_default(),
        kind: from.interface_type.map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        description: from.description.unwrap_or_default(),
        requester: from.requester_id.unwrap_or_default(),
        managed: from.requester_managed.unwrap_or_default(),
        vpc: from.vpc_id.unwrap_or_default(),
        subnet: from.subnet_id.unwrap_or_default(),
        zone: from.availability_zone.unwrap_or_default(),
        instance: attachment.as_ref().and_then(|a| a.instance_id.clone()),
        attached_at: attachment.and_then(|a| a.attach_time).map(|at| {
            Timestamp::new(u64::try_from(at.secs()).unwrap_or(0), u64::from(at.subsec_nanos()))
        }),
        primary,
        addresses,
        public,
        tags: tags(from.tag_set),
    }
}

/// The instances of a reservation that still have, or may have, an interface.
pub(super) fn reservation(from: Reservation) -> Vec<Instance> {
    let instances = from.instances.unwrap_or_default().into_iter().filter(|instance| {
        let state = instance.state.as_ref().and_then(|state| state.name.as_ref());
        state != Some(&InstanceStateName::Terminated)
    });
    let instances = instances.map(|instance| Instance {
        id: instance.instance_id.unwrap_or_default(),
        kind: instance.instance_type.map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        tags: tags(instance.tags),
    });
    instances.collect()
}

pub(super) fn subnet(from: aws_sdk_ec2::types::Subnet) -> Subnet {
    let v6 = from.ipv6_cidr_block_association_set.unwrap_or_default();
    let networks =
        from.cidr_block.iter().chain(v6.iter().filter_map(|a| a.ipv6_cidr_block.as_ref()));
    Subnet {
        networks: networks.filter_map(|text| text.parse().ok()).collect(),
        id: from.subnet_id.unwrap_or_default(),
        vpc: from.vpc_id.unwrap_or_default(),
        tags: tags(from.tags),
    }
}

pub(super) fn session(from: aws_sdk_ec2::types::TrafficMirrorSession) -> MirrorSession {
    let number = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok());
    MirrorSession {
        id: from.traffic_mirror_session_id.unwrap_or_default(),
        interface: from.network_interface_id.unwrap_or_default(),
        vni: number(from.virtual_network_id),
        target: from.traffic_mirror_target_id.unwrap_or_default(),
        filter: from.traffic_mirror_filter_id.unwrap_or_default(),
        number: number(from.session_number).unwrap_or(0),
        account: from.owner_id.unwrap_or_default(),
        packet_bytes: number(from.packet_length),
        tags: tags(from.tags),
    }
}

fn tags(from: Option<Vec<Tag>>) -> Tags {
    let tags = from.unwrap_or_default().into_iter();
    tags.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default()))).collect()
}
