// Package clients runs the SDKs that people use, unmodified but for the base URL, against a gateway with a real model behind it.
// It holds that nothing here is simulated but the external provider, whose answers say so. It needs `scripts/fetch pool clients`.
package clients
