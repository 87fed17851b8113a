"""A simulated twin of BridgeData's set-up: a WidowX-250s in toy kitchens, on raw MuJoCo."""
