"""From changes of models to intents: rules, and what each ORM tells of its writes."""
