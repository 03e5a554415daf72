DATA_LABEL=""
def simulate_cohort(): pass
