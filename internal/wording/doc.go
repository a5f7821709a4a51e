// Package wording tells whether two short questions are put in the same words but for words that carry no meaning.
//
// Its invariant is a closed world: only what the tables know to say nothing (articles, politeness, the frame of a question) or to say the same may
// differ. Every other word, number, name, sign and quotation must have its counterpart in the same place. What the tables do not know makes a
// difference, in any language, so that a doubt is never a match. It knows nothing of models: embeddings say whether texts are about the same
// matter, this says whether they can be the same question about it.
package wording
