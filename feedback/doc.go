// Package feedback turns what became of answers into labelled records: features of a request, what the router said of it, and an outcome.
//
// An outcome is somebody's word (POST /v1/feedback) or a sign: the same question asked again, asked of a stronger model, an answer that was no
// use. Its invariant: no record holds a word of a prompt or of an answer, and nobody judges an exchange of somebody else. Nothing learns by
// itself: `sluice calibrate` and `sluice-train train --outcomes` read the records when they are told to.
package feedback
