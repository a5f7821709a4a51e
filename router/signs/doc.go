// Package signs tells by an answer's own looks that it is no good: a refusal, a loop, nothing at all, JSON that is none, another language than the
// question's, a model that was not sure. It judges form, never truth: that a sign is absent says nothing. It is pure and keeps nothing.
package signs
