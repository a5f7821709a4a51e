package ledger

// Neurons are Cloudflare's unit of work: 1,000 of them cost 0.011 USD.
const usdPerNeuron = 0.011 / 1000

// USDOf returns what an amount of neurons costs.
func USDOf(neurons float64) float64 { return neurons * usdPerNeuron }

// NeuronsOf returns how many neurons an amount of USD buys.
func NeuronsOf(usd float64) float64 { return usd / usdPerNeuron }
