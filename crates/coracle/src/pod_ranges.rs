//! The addresses of pods, as the command line gives them: the cluster's ranges, and how large a part each node gets.

use anyhow::{Context, Result, ensure};
use clap::Args;
use controllers::node_ranges::Range;

/// Which addresses pods have.
#[derive(Debug, Clone, Args)]
pub struct PodRanges {
    /// The range of pods' addresses, of which every node gets a part; one of each family for both
    #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/16", value_delimiter = ',')]
    cluster_cidr: Vec<String>,
    /// The prefix length of a node's part where there is one range [default: 24, of IPv6 64]
    #[arg(long, value_name = "LENGTH")]
    node_cidr_mask_size: Option<u8>,
    /// The same of the IPv4 range
    #[arg(long, value_name = "LENGTH", conflicts_with = "node_cidr_mask_size")]
    node_cidr_mask_size_ipv4: Option<u8>,
    /// The same of the IPv6 range
    #[arg(long, value_name = "LENGTH", conflicts_with = "node_cidr_mask_size")]
    node_cidr_mask_size_ipv6: Option<u8>,
}

impl PodRanges {
    /// The ranges, none of which holds addresses of services.
    pub fn ranges(&self, service_cidr: &str) -> Result<Vec<Range>> {
        ensure!(
            self.cluster_cidr.len() == 1 || self.node_cidr_mask_size.is_none(),
            "--node-cidr-mask-size is of one range: say --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6"
        );
        let read = |cidr: &String| {
            let of_family = match cidr.contains(':') {
                true => self.node_cidr_mask_size_ipv6,
                false => self.node_cidr_mask_size_ipv4,
            };
            Range::new(cidr, self.node_cidr_mask_size.or(of_family)).with_context(|| format!("--cluster-cidr {cidr:?}"))
        };
        let ranges: Vec<Range> = self.cluster_cidr.iter().map(read).collect::<Result<_>>()?;
        let families = ranges.iter().filter(|range| range.is_of_ipv6()).count();
        ensure!(families <= 1 && ranges.len() - families <= 1, "--cluster-cidr: two ranges must be of two families");
        for (range, cidr) in ranges.iter().zip(&self.cluster_cidr) {
            ensure!(!range.meets(service_cidr), "--cluster-cidr {cidr} meets --service-cidr {service_cidr}");
        }
        Ok(ranges)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        ranges: PodRanges,
    }

    fn read(arguments: &str) -> String {
        let line = Line::try_parse_from(["coracle"].into_iter().chain(arguments.split_whitespace()));
        let ranges = line.map_err(anyhow::Error::from).and_then(|line| line.ranges.ranges("10.96.0.0/12"));
        match ranges {
            Ok(ranges) => ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn ranges_are_those_of_the_command_line() {
        for (arguments, expected) in [
            ("", "10.244.0.0/16 by /24"),
            ("--cluster-cidr 10.0.0.0/10 --node-cidr-mask-size 22", "10.0.0.0/10 by /22"),
            ("--cluster-cidr fd00::/56", "fd00::/56 by /64"),
            (
                "--cluster-cidr fd00::/48,10.244.0.0/16 --node-cidr-mask-size-ipv4=25",
                "fd00::/48 by /64, 10.244.0.0/16 by /25",
            ),
            (
                "--cluster-cidr 10.244.0.0/16 --node-cidr-mask-size 15",
                "--cluster-cidr \"10.244.0.0/16\": the prefix length of a node's part, 15, must be at least the range's, \
                 16, and at most 16 more",
            ),
            (
                "--cluster-cidr 10.244.0.0",
                "--cluster-cidr \"10.244.0.0\": must be an address and a prefix length, as 10.244.0.0/16",
            ),
            ("--cluster-cidr 10.100.0.0/16", "--cluster-cidr 10.100.0.0/16 meets --service-cidr 10.96.0.0/12"),
            ("--cluster-cidr 10.1.0.0/16,10.2.0.0/16", "--cluster-cidr: two ranges must be of two families"),
            (
                "--cluster-cidr fd00::/48,10.1.0.0/16 --node-cidr-mask-size 24",
                "--node-cidr-mask-size is of one range: say --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6",
            ),
        ] {
            assert_eq!(read(arguments), expected, "{arguments}");
        }
    }
}
