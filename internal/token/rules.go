package token

import (
	"fmt"
	"time"
)

const defaultLeeway = 30 * time.Second

// claimRules are the rules for the claims of a token.
type claimRules struct {
	issuers, audiences []string
	require            requirements
	userClaim          string
	leeway             time.Duration
	allowNoExpiry      bool
}

func (o *Options) newClaimRules(config *JWT) (rules claimRules, err error) {
	rules = claimRules{userClaim: config.UserClaim, leeway: defaultLeeway, allowNoExpiry: config.AllowNoExpiry}
	if rules.issuers, err = o.resolveTexts("issuer", config.Issuer); err != nil {
		return rules, err
	}
	if rules.audiences, err = o.resolveTexts("audience", config.Audience); err != nil {
		return rules, err
	}
	if rules.userClaim == "" {
		rules.userClaim = "sub"
	}
	if rules.userClaim, err = o.resolveText("user_claim", rules.userClaim); err != nil {
		return rules, err
	}
	if config.Leeway != nil {
		rules.leeway = *config.Leeway
	}
	if rules.leeway < 0 {
		return rules, fmt.Errorf("leeway: %s is negative", rules.leeway)
	}
	rules.require, err = o.newRequirements(config.Require)
	return rules, err
}

// apply returns the grant of claims whose signature was verified (RFC 7519, section
// 4.1).
func (rules *claimRules) apply(c claims, now time.Time) (Grant, error) {
	g := Grant{claims: c}
	var err error
	if g.Expires, err = rules.lifetime(c, now); err != nil {
		return g, err
	}
	g.Issued, _, _ = c.dateOrNull("iat") // lifetime has looked at it
	if len(rules.issuers) > 0 && !isAny(c.Get("iss"), rules.issuers) {
		return g, errJWTIssuer
	}
	if len(rules.audiences) > 0 && !c.hasAny("aud", rules.audiences) {
		return g, errJWTAudience
	}
	var ok bool
	if g.UserID, ok = c.userID(rules.userClaim); !ok {
		return g, errJWTUser
	}
	g.JTI, _ = c.Get("jti").Text()
	g.Issuer, _ = c.Get("iss").Text()
	if !rules.require.met(c) {
		return g, ErrInsufficient
	}
	return g, nil
}

// lifetime checks the dates and returns the end, leeway included.
func (rules *claimRules) lifetime(c claims, now time.Time) (end time.Time, err error) {
	expires, present, ok := c.date("exp")
	switch {
	case !ok:
		return end, errJWTClaims
	case !present && !rules.allowNoExpiry:
		return end, errJWTNoExpiry
	case present:
		end = expires.Add(rules.leeway)
		if !now.Before(end) {
			return end, errJWTExpired
		}
	}
	begins, _, ok := c.dateOrNull("nbf")
	switch {
	case !ok:
		return end, errJWTClaims
	case now.Add(rules.leeway).Before(begins):
		return end, errJWTNotYet
	}
	// When it was issued says nothing of whether it is good (RFC 7519, section
	// 4.1.6): the issuer's clock may be ahead.
	if _, _, ok = c.dateOrNull("iat"); !ok {
		return end, errJWTClaims
	}
	return end, nil
}
