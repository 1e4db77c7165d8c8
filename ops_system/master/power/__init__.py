"""Power of bare machines: their management controllers (BMC) by Redfish or IPMI, or a person who walks there."""
