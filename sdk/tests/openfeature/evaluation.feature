Feature: Evaluating through OpenFeature's client

  Background:
    Given a stable provider

  Scenario Outline: A flag without rules
    Given a <type>-flag with key "<key>" and a fallback value "<fallback>"
    When the flag was evaluated with details
    Then the resolved details value should be "<value>"
    And the flag key should be "<key>"
    And the variant should be "<variant>"
    And the reason should be "STATIC"

    Examples:
      | key               | type    | fallback   | value                                                                              | variant  |
      | boolean-flag      | Boolean | false      | true                                                                               | on       |
      | string-flag       | String  | bye        | hi                                                                                 | greeting |
      | integer-flag      | Integer | 1          | 10                                                                                 | ten      |
      | float-flag        | Float   | 0.1        | 0.5                                                                                | half     |
      | object-flag       | Object  | {}         | {\"showImages\": true,\"title\": \"Check out these pics!\",\"imagesPerPage\": 100} | template |
      | boolean-zero-flag | Boolean | true       | false                                                                              | zero     |
      | string-zero-flag  | String  | hi         |                                                                                    | zero     |
      | integer-zero-flag | Integer | 1          | 0                                                                                  | zero     |
      | float-zero-flag   | Float   | 0.1        | 0.0                                                                                | zero     |
      | object-zero-flag  | Object  | {\"a\": 1} | {}                                                                                 | zero     |

  Scenario Outline: A rule that matches may serve a zero value
    Given a <type>-flag with key "<key>" and a fallback value "<fallback>"
    And a context containing a key "email", with type "String" and with value "<email>"
    When the flag was evaluated with details
    Then the resolved details value should be "<value>"
    And the reason should be "<reason>"

    Examples:
      | key                        | type    | fallback   | email                | value | reason          |
      | boolean-targeted-zero-flag | Boolean | true       | ballmer@macrosoft.com | false | TARGETING_MATCH |
      | string-targeted-zero-flag  | String  | hi         | ballmer@macrosoft.com |       | TARGETING_MATCH |
      | integer-targeted-zero-flag | Integer | 1          | ballmer@macrosoft.com | 0     | TARGETING_MATCH |
      | float-targeted-zero-flag   | Float   | 0.1        | ballmer@macrosoft.com | 0.0   | TARGETING_MATCH |
      | object-targeted-zero-flag  | Object  | {\"a\": 1} | ballmer@macrosoft.com | {}    | TARGETING_MATCH |
      | boolean-targeted-zero-flag | Boolean | true       | ballmer@none.com      | false | DEFAULT         |

  Scenario: An attribute that is null matches nothing
    Given a Integer-flag with key "integer-targeted-zero-flag" and a fallback value "1"
    And a context containing a key "email" with null value
    When the flag was evaluated with details
    Then the reason should be "DEFAULT"

  Scenario: Several attributes target together
    Given a String-flag with key "complex-targeted" and a fallback value "default"
    And a context containing a key "email", with type "String" and with value "ballmer@macrosoft.com"
    And a context containing a key "age", with type "Integer" and with value "65"
    And a context containing a key "customer", with type "Boolean" and with value "false"
    When the flag was evaluated with details
    Then the resolved details value should be "INTERNAL"
    And the reason should be "TARGETING_MATCH"

  Scenario Outline: What cannot be answered gives the fallback and says why
    Given a <type>-flag with key "<key>" and a fallback value "<fallback>"
    When the flag was evaluated with details
    Then the resolved details value should be "<fallback>"
    And the reason should be "ERROR"
    And the error-code should be "<code>"

    Examples:
      | key               | type    | fallback   | code           |
      | non-existent-flag | Boolean | false      | FLAG_NOT_FOUND |
      | non-existent-flag | String  | bye        | FLAG_NOT_FOUND |
      | non-existent-flag | Integer | 1          | FLAG_NOT_FOUND |
      | non-existent-flag | Float   | 0.1        | FLAG_NOT_FOUND |
      | non-existent-flag | Object  | {\"a\": 1} | FLAG_NOT_FOUND |
      | string-flag       | Boolean | false      | TYPE_MISMATCH  |
      | boolean-flag      | String  | bye        | TYPE_MISMATCH  |
      | boolean-flag      | Integer | 1          | TYPE_MISMATCH  |
      | boolean-flag      | Float   | 0.1        | TYPE_MISMATCH  |
      | boolean-flag      | Object  | {\"a\": 1} | TYPE_MISMATCH  |

  Scenario: A disabled flag serves its off variant
    Given a Boolean-flag with key "boolean-disabled-flag" and a fallback value "true"
    When the flag was evaluated with details
    Then the resolved details value should be "false"
    And the reason should be "DISABLED"

  Scenario: Nothing to answer from yet
    Given a not ready provider
    And a Boolean-flag with key "boolean-flag" and a fallback value "true"
    When the flag was evaluated with details
    Then the resolved details value should be "true"
    And the error-code should be "PROVIDER_NOT_READY"

  Scenario Outline: The provider's status
    Given a <status> provider
    Then the provider status should be "<code>"

    Examples:
      | status    | code      |
      | stable    | READY     |
      | not ready | NOT_READY |
      | error     | ERROR     |
      | stale     | STALE     |

  Scenario: Hooks, and what is handed in is left alone
    Given a Boolean-flag with key "boolean-flag" and a fallback value "false"
    And evaluation options containing specific hooks
    And an evaluation context with modifiable data
    When the flag was evaluated with details using the evaluation options
    Then the specified hooks should execute during evaluation
    And the hook order should be maintained
    And the original evaluation context should remain unmodified

  Scenario: In asyncio
    Given a String-flag with key "string-flag" and a fallback value "bye"
    When the flag was evaluated with details asynchronously
    Then the evaluation should complete without blocking
    And the resolved details value should be "hi"
