// Package router decides which plan a request gets, and says why.
//
// It reads an admitted request's facts, classifies the user's own words, and asks the policy: boundaries first and apart from every rule,
// then the first rule that holds, then the plan. It does no I/O and waits for nothing. Its invariant: no session, class, rule or missing
// fact ever widens what the boundaries leave; a failing classifier is missing evidence, never a failed request. Prompts are read, never obeyed.
package router
