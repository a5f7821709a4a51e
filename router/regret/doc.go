// Package regret bounds what keeping prompts on the cheap tier costs in quality.
//
// Regret is the share of the prompts kept on the cheap tier that lose a right answer which the strong tier would have given. From judged records
// the package finds the largest threshold on the gain whose regret is below a limit with a stated confidence. Its invariant: the confidence
// holds for the threshold that was chosen, although it was chosen on the same records.
package regret
